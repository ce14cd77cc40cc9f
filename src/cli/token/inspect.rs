//! `forebay token inspect`: what a token says, without any key. Guesses the format by the token's shape where none is named.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;

use super::policy::word;
use super::said::{self, Field};
use super::subject::Subject;
use crate::admission::token::{Policy, Presented};
use crate::config::formats::Word;
use crate::config::model::{SESSION_NAME_DEFAULT, TokenFormat, TokenPlace, TokenPolicy};

/// What is inspected.
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is verified: anybody can have made such a token. `forebay token verify` tells."
)]
pub(super) struct InspectArgs {
    /// Format of the token, as for `sign`. Default: what it looks like.
    #[arg(long, value_name = "FORMAT", value_parser = word)]
    format: Option<Word>,
    /// Name of the token in the URL, where it is none of the format's own. May be repeated.
    #[arg(long)]
    name: Vec<String>,
    /// URL or path with a token in it, a line `Cookie: ...` or of another header, or a bare token.
    #[arg(value_name = "URL|TOKEN")]
    subject: String,
}

/// Prints what a token says; gives the exit code.
pub(super) fn inspect(args: &InspectArgs, out: &mut impl Write) -> Result<u8> {
    let formats = args.format.map_or(Word::ALL.to_vec(), |format| vec![format]);
    let mut found: Vec<(Word, Vec<Field>)> = Vec::new();
    for word in formats {
        for format in said::shapes(word) {
            if let Some(fields) = read(format, args)? {
                found.push((word, fields));
                break;
            }
        }
    }
    let Some((first, fields)) = found.first() else {
        match args.format {
            Some(format) => {
                bail!(
                    "it has no token of \"{}\": leave --format out to have it guessed, and give --name where it has a name \
                     of its own",
                    format.as_str()
                )
            }
            None => bail!(
                "it has no token of any format: give --format, and --name where it has a name of its own"
            ),
        }
    };
    let named = Field { name: "format".to_owned(), value: said::Said::Text(first.as_str().to_owned()) };
    let all: Vec<Field> = std::iter::once(named).chain(fields.iter().cloned()).collect();
    said::print(&all, out)?;
    let others = found.iter().skip(1).map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(", ");
    if !others.is_empty() {
        writeln!(out, "note  it may also be one of: {others}; give --format to read it so")?;
    }
    writeln!(out, "not verified")?;
    Ok(0)
}

/// The fields of the token as one of a format. None: there is none.
fn read(format: TokenFormat, args: &InspectArgs) -> Result<Option<Vec<Field>>> {
    let mut config = TokenPolicy::new("inspect", format, Vec::new());
    if !config.names.is_empty() && !args.name.is_empty() {
        config.names.clone_from(&args.name);
    } else if matches!(config.format, TokenFormat::EdgeAuth(_)) {
        // The node's own tokens have this wire form.
        config.names.push(SESSION_NAME_DEFAULT.to_owned());
    }
    config.places =
        [TokenPlace::Query, TokenPlace::Path, TokenPlace::PathParameter, TokenPlace::Cookie].to_vec();
    if !config.names.is_empty() {
        config.places.push(TokenPlace::Header);
    }
    let policy = Policy::from_config(&config, 0);
    let bare = said::fields(&config.format, args.subject.trim());
    if bare.is_some() {
        return Ok(bare);
    }
    let subject = Subject::parse(&args.subject, None, &config, &policy)?;
    let headers = subject.headers.iter().cloned().collect();
    let request = Presented {
        query: subject.target.query.as_deref(),
        headers: &headers,
        ..Presented::get(&subject.target.path, 0)
    };
    let text = policy.token_text(&request).ok();
    Ok(text.and_then(|text| said::fields(&config.format, &text)))
}

//! The policy that a command works with: one of a configuration, or one put together from arguments.
//!
//! Arguments become the text of a configuration, so that they are checked as one is and mean what they mean there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use toml::{Table, Value};

use crate::admission::geo::Geo;
use crate::admission::token::Policy;
use crate::config::formats::Word;
use crate::config::model::{KeyKind, TokenKey, TokenPlace, TokenPolicy};
use crate::config::{self, Diagnostics};

/// The name of a policy that arguments make.
const NAME: &str = "policy";

/// Names that keys were given because nobody has named them, each with the key's file.
type Unnamed = Vec<(String, String)>;

/// Which policy a command works with.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(super) struct PolicyArgs {
    /// Configuration with the policy, in place of a format and keys.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["format", "key_file", "public_key_file", "private_key_file", "set", "salt_file", "leeway"]
    )]
    config: Option<PathBuf>,
    /// Name of the policy in the configuration; needless where there is one alone.
    #[arg(long, value_name = "NAME", requires = "config")]
    policy: Option<String>,
    /// Format of the token: edgeauth, jwt, cdni, cat, cloudfront, secure_link, url_sig, bunny, cloudflare, fastly,
    /// media_cdn. Default: edgeauth.
    #[arg(long, value_name = "FORMAT", value_parser = word)]
    format: Option<Word>,
    /// File with a shared key, in the form that the format has it in; ID names the key, for formats whose tokens do. May
    /// be repeated.
    #[arg(long, value_name = "[ID=]FILE")]
    key_file: Vec<String>,
    /// File with a key that verifies. May be repeated.
    #[arg(long, value_name = "[ID=]FILE")]
    public_key_file: Vec<String>,
    /// File with a key that signs, and verifies as its public half does. May be repeated.
    #[arg(long, value_name = "[ID=]FILE")]
    private_key_file: Vec<String>,
    /// Setting of the format, as in its table of the configuration: `directories=2`, `claims.path=prefix`,
    /// `algorithms=["ES256"]`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Name that the token may have; one that is signed has the first. May be repeated. Default: those of the policy.
    #[arg(long, value_parser = token_name)]
    name: Vec<String>,
    /// Place that the token may stand in: path, path_parameter, query, cookie, header; one that is signed stands in the
    /// first that fits. May be repeated. Default: those of the policy.
    #[arg(long, value_name = "PLACE", value_parser = place)]
    place: Vec<TokenPlace>,
    /// File with the salt of the policy.
    #[arg(long, value_name = "FILE")]
    salt_file: Option<PathBuf>,
    /// Clock difference tolerated, as in 30s.
    #[arg(long, value_name = "DURATION")]
    leeway: Option<String>,
}

/// A policy, and what of its configuration bears on it.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The policy.
    pub(super) config: TokenPolicy,
    /// Where addresses are, where the configuration says.
    pub(super) geo: Option<Geo>,
    /// Keys that nobody has named.
    unnamed: Unnamed,
}

impl Chosen {
    /// The policy, ready to verify.
    pub(super) fn policy(&self) -> Policy {
        Policy::from_config(&self.config, 0)
    }

    /// What a key is called: as it was named, else by its file.
    pub(super) fn key_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.unnamed.iter().find(|(known, _)| known == id).map_or(id, |(_, file)| file)
    }

    /// Whether somebody has named a key, so that its name says something to others.
    pub(super) fn is_named(&self, id: &str) -> bool {
        self.unnamed.iter().all(|(known, _)| known != id)
    }

    /// The key that signs: the one of this name, else the first that does.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn signing_key(&self, id: Option<&str>) -> Result<&TokenKey> {
        signing_key(&self.config.keys, id)
    }
}

/// The key of a list that signs: the one of this name, else the first that does.
///
/// # Errors
/// There is none.
pub(super) fn signing_key<'k>(keys: &'k [TokenKey], id: Option<&str>) -> Result<&'k TokenKey> {
    let signs = |key: &&TokenKey| key.kind != KeyKind::Public;
    match id {
        Some(id) => {
            let key = keys.iter().find(|key| key.id == id).with_context(|| {
                let known = keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
                format!("--key-id {id}: the policy has no such key; it has: {known}")
            })?;
            ensure!(signs(&key), "--key-id {id}: it only verifies: give the private key of its pair");
            Ok(key)
        }
        None => keys.iter().find(signs).context("no key signs: give --key-file or --private-key-file"),
    }
}

impl PolicyArgs {
    /// Whether the policy is one of a configuration.
    pub(super) fn is_of_configuration(&self) -> bool {
        self.config.is_some()
    }

    /// The policy.
    ///
    /// # Errors
    /// What is wrong, in the words of the configuration.
    pub(super) fn load(&self) -> Result<Chosen> {
        match &self.config {
            Some(file) => self.of_configuration(file),
            None => self.of_arguments(),
        }
    }

    fn of_configuration(&self, file: &Path) -> Result<Chosen> {
        let config = config::load(file).map_err(|mistakes| anyhow!("{mistakes}"))?;
        let names = || config.tokens.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = match &self.policy {
            Some(name) => config.tokens.iter().find(|policy| policy.name == *name),
            None if config.tokens.len() > 1 => {
                bail!("{}: it has several policies: give --policy, one of {}", file.display(), names())
            }
            None => config.tokens.first(),
        };
        let mut found = found.cloned().with_context(|| match &self.policy {
            Some(name) => format!("{}: there is no [token.{name}]; known are: {}", file.display(), names()),
            None => format!("{}: it has no token policy", file.display()),
        })?;
        if !self.name.is_empty() {
            ensure!(
                !found.names.is_empty(),
                "--name: a token of this policy is several parameters: remove it"
            );
            found.names.clone_from(&self.name);
        }
        if let Some(other) = self.place.iter().find(|place| !found.places.contains(place)) {
            let known = found.places.iter().map(|place| place.as_str()).collect::<Vec<_>>().join(", ");
            bail!("--place {}: the policy takes no token there, but in: {known}", other.as_str());
        }
        if !self.place.is_empty() {
            found.places.clone_from(&self.place);
        }
        Ok(Chosen { config: found, geo: Geo::new(&config.geo), unnamed: Vec::new() })
    }

    fn of_arguments(&self) -> Result<Chosen> {
        let word = self.format.unwrap_or(Word::EdgeAuth);
        let (keys, unnamed) = self.keys(word)?;
        let options = self.options(word)?;
        let takes_keys_elsewhere = options.contains_key("jwks");
        ensure!(
            !keys.is_empty() || takes_keys_elsewhere,
            "no key: give --key-file, --public-key-file or --private-key-file, or --config"
        );
        let mut policy = Table::new();
        policy.insert("format".to_owned(), word.as_str().into());
        policy.insert("keys".to_owned(), Value::Array(keys));
        if !self.name.is_empty() {
            policy.insert("names".to_owned(), list(self.name.iter().map(String::as_str)));
        }
        let is_link = word == Word::SecureLink && options.get("word") == Some(&Value::Boolean(true));
        if !self.place.is_empty() {
            policy.insert("places".to_owned(), list(self.place.iter().map(|place| place.as_str())));
        } else if is_link {
            policy.insert("places".to_owned(), list(["path"]));
        }
        if let Some(file) = &self.salt_file {
            policy.insert("salt_file".to_owned(), text(file)?.into());
        }
        if let Some(leeway) = &self.leeway {
            policy.insert("leeway".to_owned(), leeway.as_str().into());
        }
        if !options.is_empty() {
            policy.insert(word.as_str().to_owned(), Value::Table(options));
        }
        Ok(Chosen { config: parse(policy, word)?, geo: None, unnamed })
    }

    /// The table of the format. Shared keys alone say which algorithm is meant, where none is named.
    fn options(&self, word: Word) -> Result<Table> {
        let mut options = Table::new();
        for pair in &self.set {
            merge(&mut options, setting(pair)?);
        }
        let is_shared = self.public_key_file.is_empty() && self.private_key_file.is_empty();
        let algorithms = match word {
            Word::Jwt | Word::Cdni if is_shared && !self.key_file.is_empty() => {
                list(["HS256", "HS384", "HS512"])
            }
            Word::Jwt => list(["ES256", "ES384", "EdDSA", "RS256", "PS256"]),
            _ => return Ok(options),
        };
        options.entry("algorithms").or_insert(algorithms);
        Ok(options)
    }

    /// The keys as the configuration has them, and those among them that nobody has named.
    fn keys(&self, word: Word) -> Result<(Vec<Value>, Unnamed)> {
        let kinds = [
            ("secret_file", &self.key_file),
            ("public_key_file", &self.public_key_file),
            ("private_key_file", &self.private_key_file),
        ];
        let given = kinds.iter().flat_map(|(kind, files)| files.iter().map(move |file| (*kind, file)));
        let (mut keys, mut unnamed) = (Vec::new(), Vec::new());
        for (place, (kind, given)) in given.enumerate() {
            let (id, file) = match given.split_once('=') {
                Some((id, file)) => (id.to_owned(), file),
                None => {
                    // Keys of this format are numbers.
                    let id =
                        if word == Word::UrlSig { place.to_string() } else { format!("key{}", place + 1) };
                    unnamed.push((id.clone(), given.clone()));
                    (id, given.as_str())
                }
            };
            let file = text(Path::new(file))?;
            let members = [("id".to_owned(), Value::from(id)), (kind.to_owned(), Value::from(file))];
            keys.push(Value::Table(members.into_iter().collect()));
        }
        Ok((keys, unnamed))
    }
}

fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

/// A path as the configuration takes it: from the current folder.
fn text(file: &Path) -> Result<String> {
    let file = std::path::absolute(file).with_context(|| format!("{}", file.display()))?;
    file.into_os_string().into_string().ok().context("the name of a key file is not UTF-8")
}

/// A setting, its value as TOML or else as text.
fn setting(pair: &str) -> Result<Table> {
    let remedy = || format!("--set {pair}: write KEY=VALUE, as in directories=2");
    let (key, value) = pair.split_once('=').with_context(remedy)?;
    let as_toml = format!("{key} = {value}").parse::<Table>();
    let as_text = || format!("{key} = {}", Value::from(value)).parse::<Table>();
    as_toml.or_else(|_| as_text()).ok().filter(|table| table.len() == 1).with_context(remedy)
}

/// Adds the entries of a table to another, tables within them too.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(known)), Value::Table(more)) => merge(known, more),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// The policy of a table, in the least configuration around it.
fn parse(policy: Table, word: Word) -> Result<TokenPolicy> {
    let around = format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.none]\nservers = [\"http://127.0.0.1:1\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"none\"\ntoken = \"{NAME}\"\n"
    );
    let mut table: Table = around.parse().context("the least configuration")?;
    let tokens = [(NAME.to_owned(), Value::Table(policy))].into_iter().collect();
    table.insert("token".to_owned(), Value::Table(tokens));
    let text = toml::to_string(&table).context("the arguments as a configuration")?;
    let config = config::parse(&text, Path::new("arguments")).map_err(|mistakes| told(&mistakes, word))?;
    config.tokens.into_iter().next().context("no policy came of the arguments")
}

/// Mistakes in the words of the configuration, without the places of a file that nobody has written.
fn told(mistakes: &Diagnostics, word: Word) -> anyhow::Error {
    let (own, table) = (format!("token.{NAME}."), format!("{}.", word.as_str()));
    let line = |mistake: &config::Diagnostic| {
        let key = mistake.key.strip_prefix(&own).unwrap_or(&mistake.key);
        let key = match key.strip_prefix(&table) {
            Some(setting) => format!("--set {setting}"),
            None => key.to_owned(),
        };
        format!("{key}: {}; {}", mistake.reason, mistake.remedy)
    };
    anyhow!("{}", mistakes.0.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A format.
pub(super) fn word(text: &str) -> Result<Word, String> {
    Word::ALL.into_iter().find(|word| word.as_str() == text).ok_or_else(|| {
        let known = Word::ALL.map(Word::as_str).join(", ");
        format!("there is no format `{text}`; write one of {known}")
    })
}

fn place(text: &str) -> Result<TokenPlace, String> {
    let all = [
        TokenPlace::Path,
        TokenPlace::PathParameter,
        TokenPlace::Query,
        TokenPlace::Cookie,
        TokenPlace::Header,
    ];
    all.into_iter().find(|place| place.as_str() == text).ok_or_else(|| {
        format!("`{text}` is no place; write one of {}", all.map(TokenPlace::as_str).join(", "))
    })
}

/// A name that can stand in a path, a query and a cookie as it is.
fn token_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err(format!("`{text}` is no token name: use letters, digits, `-`, `_` and `.`"));
    }
    Ok(text.to_owned())
}

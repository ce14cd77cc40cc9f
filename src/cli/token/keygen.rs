//! `forebay token keygen`: random keys, in the form that the key files of a format have them in.
//!
//! Files are made for their owner alone, and none is ever written over.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::{Args, ValueEnum};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use super::policy::word;
use crate::config::formats::Word;

/// Bytes of an EdgeAuth key; what EdgeAuth implementations take at most.
pub(super) const EDGEAUTH_BYTES: usize = 16;

/// Bytes of other shared keys: the output of SHA-256.
const SHARED_BYTES: usize = 32;

/// Bytes of a seed of Ed25519 (RFC 8032 section 5.1.5).
const SEED_BYTES: usize = 32;

/// Characters of a line of PEM (RFC 7468 section 2).
const PEM_COLUMNS: usize = 64;

/// SubjectPublicKeyInfo of P-256 (RFC 5480) up to the point.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// SubjectPublicKeyInfo of Ed25519 (RFC 8410 section 4) up to the point.
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// PKCS #8 of Ed25519 (RFC 8410 section 7) up to the seed.
const ED25519_PKCS8: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Which key is made, and where.
#[derive(Args, Debug)]
#[command(
    after_help = "A shared key is printed, or written to --out. A pair needs --out: the private key is written there, the \
    public one to the same name with `.pub` behind it. Files are readable by their owner alone; one that exists is not \
    written over. Keys of session tokens are those of edgeauth."
)]
pub(super) struct KeygenArgs {
    /// Format of the tokens, as for `sign`. Default: edgeauth.
    #[arg(long, value_name = "FORMAT", value_parser = word, default_value = "edgeauth")]
    format: Word,
    /// What the key is for. Default: shared, but es256 for cloudfront.
    #[arg(long, value_name = "ALGORITHM", ignore_case = true)]
    algorithm: Option<Algorithm>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// A shared key.
    #[value(alias = "hs256")]
    Shared,
    /// ECDSA on P-256: a pair.
    Es256,
    /// Ed25519: a pair.
    #[value(alias = "ed25519")]
    Eddsa,
    /// RSA, which openssl makes.
    #[value(aliases = ["rs256", "ps256"])]
    Rsa,
}

/// Makes a key; gives the exit code.
pub(super) fn keygen(args: &KeygenArgs, out: &mut impl Write) -> Result<u8> {
    let format = args.format;
    let default = if format == Word::CloudFront { Algorithm::Es256 } else { Algorithm::Shared };
    let algorithm = args.algorithm.unwrap_or(default);
    fits(format, algorithm)?;
    if algorithm == Algorithm::Shared {
        let key = shared(format)?;
        match &args.out {
            Some(file) => write_new(file, &format!("{key}\n"))?,
            None => writeln!(out, "{key}")?,
        }
        return Ok(0);
    }
    let private = args.out.as_deref().context("a pair is two files: give --out FILE")?;
    let mut public = private.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    for file in [private, &public] {
        ensure!(!file.exists(), "{}: it exists, and is not written over: name another file", file.display());
    }
    let (private_text, public_text) = pair(format, algorithm)?;
    write_new(private, &private_text)?;
    write_new(&public, &public_text)?;
    writeln!(out, "private key  {}\npublic key   {}", private.display(), public.display())?;
    Ok(0)
}

/// That a format has such keys.
fn fits(format: Word, algorithm: Algorithm) -> Result<()> {
    let name = format.as_str();
    match (format, algorithm) {
        (Word::Jwt | Word::Cdni | Word::Cat | Word::CloudFront, Algorithm::Rsa) => bail!(
            "RSA keys are not made here; openssl makes one: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
             -out FILE && openssl pkey -in FILE -pubout -out FILE.pub"
        ),
        (Word::CloudFront, Algorithm::Shared) => {
            bail!("tokens of \"{name}\" are signed with a private key: write --algorithm es256")
        }
        (_, Algorithm::Shared)
        | (Word::Jwt | Word::Cdni | Word::Cat | Word::CloudFront, Algorithm::Es256)
        | (Word::Jwt | Word::Cdni | Word::MediaCdn, Algorithm::Eddsa) => Ok(()),
        (Word::Cat | Word::CloudFront, Algorithm::Eddsa) => {
            bail!("tokens of \"{name}\" are not signed with Ed25519: write --algorithm es256")
        }
        (Word::MediaCdn, _) => bail!("pairs of \"{name}\" are of Ed25519: write --algorithm eddsa"),
        (_, _) => bail!("tokens of \"{name}\" are signed with shared keys: leave --algorithm out"),
    }
}

fn shared(format: Word) -> Result<String> {
    Ok(match format {
        Word::EdgeAuth => hex::encode(random::<EDGEAUTH_BYTES>()?),
        Word::Cat => hex::encode(random::<SHARED_BYTES>()?),
        // The module's keys have at most this many characters.
        Word::UrlSig => hex::encode(random::<{ SHARED_BYTES / 2 }>()?),
        Word::Fastly => STANDARD.encode(random::<SHARED_BYTES>()?),
        _ => URL_SAFE_NO_PAD.encode(random::<SHARED_BYTES>()?),
    })
}

/// A private and a public key, as the text of their files.
fn pair(format: Word, algorithm: Algorithm) -> Result<(String, String)> {
    let failed = "no key came of it: the system may give no random bytes";
    if algorithm == Algorithm::Es256 {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok().context(failed)?;
        let document = document.as_ref();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random).ok();
        let pair = pair.context(failed)?;
        let public = [P256_SPKI, pair.public_key().as_ref()].concat();
        return Ok((pem("PRIVATE KEY", document), pem("PUBLIC KEY", &public)));
    }
    let seed = random::<SEED_BYTES>()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context(failed)?;
    let point = pair.public_key().as_ref();
    if format == Word::MediaCdn {
        // Its files have the bare keys.
        let text = |bytes: &[u8]| format!("{}\n", URL_SAFE_NO_PAD.encode(bytes));
        return Ok((text(&seed), text(point)));
    }
    let (private, public) = ([ED25519_PKCS8, &seed].concat(), [ED25519_SPKI, point].concat());
    Ok((pem("PRIVATE KEY", &private), pem("PUBLIC KEY", &public)))
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(bytes)
}

/// DER as a section of PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, letter) in base64.chars().enumerate() {
        if at > 0 && at % PEM_COLUMNS == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

/// Writes a file that is not there yet, for its owner alone.
fn write_new(file: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened =
        opened.with_context(|| format!("{}: it is not written, nor written over", file.display()))?;
    opened.write_all(text.as_bytes()).with_context(|| format!("{}", file.display()))?;
    opened.sync_all().with_context(|| format!("{}", file.display()))
}

//! What every format of tokens is held to, whatever the input:
//! - verification does not panic, and takes no more than [`CPU_MAX`] and the time of one signature check;
//! - a token that was not signed here is not admitted, and no token is by a policy with other keys;
//! - an admitted token has begun and has not ended;
//! - what a policy carries on from an admitted request, and what it leaves out of it, can be made.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use forebay::admission::token::{Policy, Presented};
use forebay::config::model::{KeyKind, Secret, TokenKey, TokenPolicy};
use forebay::key::target;
use percent_encoding::percent_decode_str;

use super::request::{Asked, Mode, NOW, input};
use super::{Clock, Fuzzed};

/// CPU time of a verification, apart from a signature check.
pub const CPU_MAX: Duration = Duration::from_millis(1);

/// How much longer the same may take in a program that tells the fuzzer of each of its steps; regular expressions take
/// sixty times as long there.
const INSTRUMENTED: u32 = if cfg!(fuzzing) { 16 } else { 1 };

/// How often an input has to take longer than that to count.
const REPEATS: usize = 3;

/// Bytes of what a policy remembers of tokens.
const VERDICT_BYTES: u64 = 1 << 20;

/// The key of shared secrets.
pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

type Sign = dyn Fn(&Asked) -> Option<String>;

/// A policy under test.
pub struct Bench {
    policy: Policy,
    /// The same with other keys.
    stranger: Policy,
    /// The name of its tokens; None: they are several parameters.
    name: Option<String>,
    /// Makes a token of the body, as it stands in a query, or with a slash or a semicolon in front in a path.
    sign: Box<Sign>,
    /// Shows what a token says, unverified.
    inspect: fn(&str),
    genuine: BTreeSet<String>,
    check: Duration,
}

/// Has the compiler make what nobody looks at.
pub fn shown<T>(made: T) {
    drop(black_box(made));
}

/// A shared key.
pub fn shared(secret: &[u8]) -> TokenKey {
    key(KeyKind::Shared, secret)
}

/// A key that the policy calls `0`.
pub fn key(kind: KeyKind, bytes: &[u8]) -> TokenKey {
    TokenKey { id: "0".to_owned(), kind, bytes: Secret(bytes.to_vec()) }
}

impl Bench {
    /// A policy, and the same with `strange` keys.
    pub fn new(
        config: &TokenPolicy,
        strange: Vec<TokenKey>,
        inspect: fn(&str),
        sign: impl Fn(&Asked) -> Option<String> + 'static,
    ) -> Bench {
        Bench {
            policy: Policy::from_config(config, VERDICT_BYTES),
            stranger: Policy::from_config(&TokenPolicy { keys: strange, ..config.clone() }, VERDICT_BYTES),
            name: config.names.first().cloned(),
            sign: Box::new(sign),
            inspect,
            genuine: BTreeSet::new(),
            check: Duration::ZERO,
        }
    }

    /// Remembers what the tokens of the seeds are, and how long the check of one takes.
    fn begin(&mut self, number: usize, signed: &[Vec<u8>], clock: Clock) -> Vec<Vec<u8>> {
        let mut raw = Vec::new();
        let mut times = Vec::new();
        let mut admitted = false;
        for seed in signed.iter().filter(|seed| usize::from(seed[1]) == number) {
            let asked = Asked::of(seed).expect("a seed is whole");
            let token = (self.sign)(&asked).expect("a seed can be signed");
            self.genuine.insert(canonical(&token));
            let seed = input(0, seed[1], seed[2], &asked.path, &asked.query, token.as_bytes());
            for _ in 0..8 {
                self.policy.forget();
                let start = clock();
                admitted |= self.run(&seed, None);
                times.push(clock() - start);
            }
            raw.push(seed);
        }
        assert!(admitted, "no seed of policy {number} is admitted");
        times.sort();
        self.check = times.get(times.len() / 2).copied().unwrap_or_default();
        raw
    }

    /// Whether an input is admitted, once it is seen to be held to everything.
    fn run(&self, data: &[u8], clock: Option<Clock>) -> bool {
        let Some(asked) = Asked::of(data) else { return false };
        let token = match asked.mode {
            Mode::Raw => Some(asked.text().into_owned()),
            Mode::Signed => (self.sign)(&asked),
        };
        let Some(token) = token else { return false };
        (self.inspect)(&token);
        let Some(sent) = asked.with_token(&token, self.name.as_deref()) else { return false };
        let stripped = self.policy.strip_path(&sent.path).1;
        // What has no normal form is answered before its token is looked at.
        let Ok(normal) = target::path(&stripped, true) else { return false };
        let request = asked.presented(&sent, &normal);
        if let Some(clock) = clock {
            self.hurry(&request, clock);
        }
        let admitted = self.policy.admit(&request);
        assert_eq!(admitted.is_ok(), self.policy.admit(&request).is_ok(), "admitted once, and once not");
        assert!(self.stranger.admit(&request).is_err(), "admitted by keys that did not sign it");
        black_box(self.policy.token_text(&request).ok());
        let query = request.query.map(|query| self.policy.strip_query(query));
        let again = query.as_ref().map(|query| self.policy.strip_query(query));
        assert_eq!(query, again, "a token is left in the query");
        let Ok(admission) = admitted else { return false };
        if asked.mode == Mode::Raw {
            let text = canonical(&admission.verdict.text);
            assert!(self.genuine.contains(&text), "admitted without a signature: {}", admission.verdict.text);
        }
        let terms = admission.terms();
        assert!(terms.expires.is_none_or(|end| asked.now < end), "admitted after its end");
        assert!(terms.not_before.is_none_or(|start| start <= asked.now), "admitted before its beginning");
        black_box(self.policy.carried(&admission, &request).text.len());
        black_box(self.policy.renew(&admission, &request).is_some());
        true
    }

    /// Panics where an input takes too long each time it is verified.
    fn hurry(&self, request: &Presented<'_>, clock: Clock) {
        let mut spent = Duration::ZERO;
        for _ in 0..REPEATS {
            self.policy.forget();
            let start = clock();
            black_box(self.policy.admit(request).is_ok());
            spent = clock() - start;
            if spent <= CPU_MAX * INSTRUMENTED + self.check {
                return;
            }
        }
        panic!("{spent:?} of CPU time for one token; a signature check takes {:?}", self.check);
    }
}

/// A target of policies; `signed` are inputs of [`Mode::Signed`] that they admit.
pub fn target(mut benches: Vec<Bench>, signed: Vec<Vec<u8>>, clock: Clock) -> Fuzzed {
    let mut seeds = Vec::new();
    for (number, bench) in benches.iter_mut().enumerate() {
        seeds.extend(bench.begin(number, &signed, clock));
    }
    // Policies of a target share a key: what one signs for a directory is genuine to another as the path of that name.
    let genuine: BTreeSet<String> =
        benches.iter_mut().flat_map(|bench| std::mem::take(&mut bench.genuine)).collect();
    benches.iter_mut().for_each(|bench| bench.genuine.clone_from(&genuine));
    seeds.extend(signed);
    let run = move |data: &[u8]| {
        if let Some(number) = data.get(1) {
            benches[usize::from(*number) % benches.len()].run(data, Some(clock));
        }
    };
    Fuzzed { run: Box::new(run), seeds }
}

/// The seeds of a list of paths, queries and bodies: an input each, for the first policy and in the query.
pub fn seeds(of: &[(&str, &str, &str)]) -> Vec<Vec<u8>> {
    of.iter().map(|(path, query, body)| input(1, 0, 0, path, query, body.as_bytes())).collect()
}

/// The end of a seed's token.
pub const END: u64 = NOW + 600;

/// A token in one of its spellings, the same for all of them.
fn canonical(token: &str) -> String {
    // In the middle of a path, the path up to it belongs to the text.
    let token = token.split_once(";urlsig=").map_or(token, |(_, anchored)| anchored);
    let named = token.trim_start_matches(['/', ';']);
    let names = ["bcdn_token=", "urlsig=", "p/"];
    let token = names.iter().find_map(|name| named.strip_prefix(name)).unwrap_or(named);
    let decoded = |part| percent_decode_str(part).decode_utf8_lossy().trim_end_matches('=').to_owned();
    let mut parts: Vec<String> = token.split(['&', ';']).map(decoded).collect();
    parts.sort();
    parts.join("&")
}

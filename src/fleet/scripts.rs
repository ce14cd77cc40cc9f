//! What Redis does in one step, as scripts, and how records are written there.
//!
//! Keys, with the prefix before each: `revocations` is a hash, one field per identity; `bus` is a stream; `replay:DIGEST`
//! is a string that ends with its token; `streams:DIGEST` is a sorted set of sessions by the time they were last noted, by
//! the clock of Redis.

use redis::{Script, ScriptInvocation};

use crate::admission::revocation::{Identity, Kind, Record};

/// Entries that the bus keeps, about; a node that was away for longer reads what is in force anew, as every node does that
/// has connected.
const BUS_ENTRIES_MAX: u32 = 10_000;

/// Puts a record where it is news, and tells it.
const PUT: &str = r"
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local at, force, ends = string.match(known, '^(%d+) (%d) (%d+)$')
  if at then
    at, force, ends = tonumber(at), tonumber(force), tonumber(ends)
    local new_at, new_force, new_ends = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
    local is_news = new_at > at or (new_at == at and
      (new_force > force or (new_force == force and new_ends > ends)))
    if not is_news then return 0 end
  end
end
local value = ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]
redis.call('HSET', KEYS[1], ARGV[1], value)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'kind', 'revocation', 'what', ARGV[1], 'value', value)
return 1
";

/// Removes fields whose records have ended, a minute after that, since clocks differ.
const PRUNE: &str = r"
local now = tonumber(redis.call('TIME')[1])
local gone = 0
for _, field in ipairs(ARGV) do
  local known = redis.call('HGET', KEYS[1], field)
  local ends = known and string.match(known, '^%d+ %d (%d+)$')
  if ends and tonumber(ends) + 60 < now then gone = gone + redis.call('HDEL', KEYS[1], field) end
end
return gone
";

/// Notes a session unless so many others are there.
const ADMIT_STREAM: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local window = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], window)
return 1
";

/// The scripts, their digests made once.
pub(super) struct Scripts {
    put: Script,
    pub(super) prune: Script,
    pub(super) admit_stream: Script,
}

impl Scripts {
    pub(super) fn new() -> Scripts {
        Scripts { put: Script::new(PUT), prune: Script::new(PRUNE), admit_stream: Script::new(ADMIT_STREAM) }
    }

    /// The call that puts a record.
    pub(super) fn put(&self, prefix: &str, record: &Record) -> ScriptInvocation<'_> {
        let mut call = self.put.prepare_invoke();
        call.key(format!("{prefix}:revocations")).key(format!("{prefix}:bus"));
        call.arg(field(&record.identity)).arg(record.at).arg(u8::from(!record.restored)).arg(record.until);
        call.arg(BUS_ENTRIES_MAX);
        call
    }
}

/// The field of an identity: kind, value and policy as JSON.
fn field(identity: &Identity) -> String {
    let Identity { kind, value, policy } = identity;
    serde_json::json!([kind.as_str(), value, policy]).to_string()
}

/// The record of a field and its value; None: it is none.
pub(super) fn record(field: &str, value: &str) -> Option<Record> {
    let (kind, text, policy): (String, Box<str>, Option<Box<str>>) = serde_json::from_str(field).ok()?;
    let identity = Identity { kind: Kind::of(&kind)?, value: text, policy };
    let mut numbers = value.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (at, force, until) = (next()?, next()?, next()?);
    Some(Record { identity, until, at, restored: force == 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_written_for_an_identity_reads_as_it() {
        for policy in [None, Some("p")] {
            for kind in Kind::ALL {
                let value = "a \"b\"\n\u{1F3A5}".into();
                let identity = Identity { kind, value, policy: policy.map(Into::into) };
                let record = record(&field(&identity), "1700000000000 0 1700000001").unwrap();
                assert_eq!(record.identity, identity);
                assert_eq!(
                    (record.at, record.restored, record.until),
                    (1_700_000_000_000, true, 1_700_000_001)
                );
            }
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for (field, value) in
            [("", "1 1 1"), ("[]", "1 1 1"), (r#"["x","a",null]"#, "1 1 1"), (r#"["key","a",null]"#, "1 1")]
        {
            assert_eq!(record(field, value), None, "{field} {value}");
        }
    }
}

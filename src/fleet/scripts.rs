//! What Redis does in one step, as scripts, and how records are written there.
//!
//! Keys, with the prefix before each: `revocations` is a hash, one field per identity; `bus` is a stream; `replay:DIGEST`
//! is a string that ends with its token; `streams:DIGEST` is a sorted set of sessions by the time they were last noted, by
//! the clock of Redis. `purges` is a stream of purges, each entry with the place of the one before it (`prev`) and the
//! `epoch`: a random word that `purge-state`, a hash, holds beside the `last` place, and that is another one after Redis
//! has lost something. `told:ID` is where a purge stands, for an hour; `asked:DIGEST` what an idempotency key stands for.
//! `nodes` is a hash: for each node when it was last seen, by the clock of Redis, and what it said.

use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::message::Message;
use crate::admission::revocation::{Identity, Kind, Record};
use crate::watermark::Watermark;

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

/// Purges that the stream keeps, about, however young they are.
const PURGE_ENTRIES_MAX: u32 = 50_000;

/// How long Redis knows a purge that it was told, so that one that is told again stands in the stream once.
const TOLD_LIFE: Duration = Duration::from_secs(3600);

/// Puts a purge in the stream, once, and gives its place; nothing where the epoch is another one.
const TELL: &str = r"
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then return false end
local known = redis.call('GET', KEYS[3])
if known then return known end
local last = redis.call('HGET', KEYS[2], 'last') or '0-0'
local at = redis.call('XADD', KEYS[1], '*', 'kind', 'purge', 'epoch', ARGV[1], 'prev', last, 'mode', ARGV[2],
  'purge', ARGV[3])
redis.call('HSET', KEYS[2], 'last', at)
redis.call('SET', KEYS[3], at, 'PX', ARGV[4])
redis.pcall('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', tonumber(redis.call('TIME')[1]) * 1000 - ARGV[5]))
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[6])
return at
";

/// Tells how the stream stands: epoch, last place, first place, and the place before that. Begins a new epoch where there is
/// none, where the asker knows of one, or where the asker knows a place behind the last.
const LOOK: &str = r"
local function less(a, b)
  local am, as = string.match(a, '^(%d+)%-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)%-(%d+)$')
  am, as, bm, bs = tonumber(am), tonumber(as), tonumber(bm), tonumber(bs)
  return am < bm or (am == bm and as < bs)
end
local epoch = redis.call('HGET', KEYS[2], 'epoch')
local last = redis.call('HGET', KEYS[2], 'last')
local is_asker = epoch == ARGV[2]
if not epoch or not last or (is_asker and (ARGV[4] == '1' or less(last, ARGV[3]))) then
  epoch = ARGV[1]
  local at = redis.call('XADD', KEYS[1], '*', 'kind', 'epoch', 'epoch', epoch, 'prev', last or '0-0')
  last = at
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'last', at)
end
local first, prev = '', ''
local entry = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if entry then
  first = entry[1]
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'prev' then prev = entry[2][i + 1] end
  end
end
return {epoch, last, first, prev}
";

/// Notes that a node is there, forgets those that have long been silent, and gives the epoch, the time, what was noted of
/// this node before, and all nodes. An empty field notes nothing.
const BEAT: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local before = ''
if ARGV[1] ~= '' then
  before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
end
local nodes = redis.call('HGETALL', KEYS[1])
local living = {}
for i = 1, #nodes, 2 do
  local seen = string.match(nodes[i + 1], '^(%d+) ')
  if not seen or tonumber(seen) + ARGV[3] < now then
    redis.call('HDEL', KEYS[1], nodes[i])
  else
    living[#living + 1] = nodes[i]
    living[#living + 1] = nodes[i + 1]
  end
end
return {redis.call('HGET', KEYS[2], 'epoch') or '', string.format('%.0f', now), before, living}
";

/// The scripts, their digests made once.
pub(super) struct Scripts {
    put: Script,
    pub(super) prune: Script,
    pub(super) admit_stream: Script,
    tell: Script,
    look: Script,
    beat: Script,
}

/// What [`Scripts::look`] answers: epoch, last place, first place, and the place before that.
pub(super) type Looked = (String, String, String, String);

/// What [`Scripts::beat`] answers: epoch, milliseconds since 1970, what was noted before, and all nodes.
pub(super) type Beaten = (String, String, String, Vec<(String, String)>);

impl Scripts {
    pub(super) fn new() -> Scripts {
        Scripts {
            put: Script::new(PUT),
            prune: Script::new(PRUNE),
            admit_stream: Script::new(ADMIT_STREAM),
            tell: Script::new(TELL),
            look: Script::new(LOOK),
            beat: Script::new(BEAT),
        }
    }

    /// The call that tells a purge.
    pub(super) fn tell(
        &self,
        prefix: &str,
        epoch: &str,
        message: &Message,
        retention: Duration,
    ) -> ScriptInvocation<'_> {
        let mut call = self.tell.prepare_invoke();
        call.key(format!("{prefix}:purges")).key(format!("{prefix}:purge-state"));
        call.key(format!("{prefix}:told:{}", message.id)).arg(epoch).arg(message.mode.as_str());
        call.arg(message.to_text()).arg(super::millis(TOLD_LIFE));
        call.arg(super::millis(retention)).arg(PURGE_ENTRIES_MAX);
        call
    }

    /// The call that looks how the stream stands, for a node that knows an epoch and a place in it. `is_lost`: it knows that
    /// the stream has lost something.
    pub(super) fn look(
        &self,
        prefix: &str,
        new: &str,
        known: Option<(&str, Watermark)>,
        is_lost: bool,
    ) -> ScriptInvocation<'_> {
        let (epoch, at) = known.unwrap_or(("", Watermark::default()));
        let mut call = self.look.prepare_invoke();
        call.key(format!("{prefix}:purges")).key(format!("{prefix}:purge-state"));
        call.arg(new).arg(epoch).arg(at.to_string()).arg(u8::from(is_lost));
        call
    }

    /// The call that notes a node, where there is a field, and gives all that were seen within `life`.
    pub(super) fn beat(
        &self,
        prefix: &str,
        field: &str,
        value: &str,
        life: Duration,
    ) -> ScriptInvocation<'_> {
        let mut call = self.beat.prepare_invoke();
        call.key(format!("{prefix}:nodes")).key(format!("{prefix}:purge-state"));
        call.arg(field).arg(value).arg(super::millis(life));
        call
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

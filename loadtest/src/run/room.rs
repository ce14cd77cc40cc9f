//! Whether this process may have as many descriptors open as its viewers need. The limit is raised; where that is not enough,
//! it is named with its remedy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::machine;
use crate::scenario::audience::Ticket;
use crate::scenario::{Protocol, Scenario};

/// Descriptors that are needed beside those of viewers' connections.
const DESCRIPTORS_BESIDE: u64 = 500;

/// Connections that a viewer over HTTP/1.1 has at the same time, as a rule: for playlist, video and audio.
const H1_CONNECTIONS: u64 = 3;

/// Raises the limit, and fails when these viewers cannot have a connection each. Returns a warning when they can have one each, but
/// not as many as they may want.
pub(crate) fn ensure_for(scenario: &Scenario, tickets: &[Ticket]) -> Result<Option<String>> {
    let limit = machine::raise_descriptor_limit()?;
    let (one_each, wanted) = needed(scenario, tickets);
    judge(limit, one_each, wanted)
}

fn judge(limit: u64, one_each: u64, wanted: u64) -> Result<Option<String>> {
    let remedy = "raise the hard limit (ulimit -Hn, or LimitNOFILE= of the service this runs in), ask for fewer viewers \
                  (--viewers), or share them among several processes (--workers)";
    ensure!(
        one_each <= limit,
        "the viewers need {one_each} open descriptors, the limit is {limit}: {remedy}"
    );
    Ok((wanted > limit).then(|| {
        format!("the viewers may want {wanted} open descriptors, the limit is {limit}: connections may fail; {remedy}")
    }))
}

/// Descriptors for the most viewers who are there at a time: with a connection each, and with as many as each may want.
fn needed(scenario: &Scenario, tickets: &[Ticket]) -> (u64, u64) {
    let mut there: BinaryHeap<Reverse<(Duration, u64)>> = BinaryHeap::new();
    let (mut now, mut viewers, mut wanted) = (0, 0, 0);
    for ticket in tickets {
        while let Some(Reverse((leaves, connections))) = there.peek().copied() {
            if leaves > ticket.arrives {
                break;
            }
            there.pop();
            now -= connections;
        }
        let connections = match scenario.groups.get(ticket.group).map(|group| group.protocol) {
            Some(Protocol::H2) => 1,
            Some(Protocol::H1) | None => H1_CONNECTIONS,
        };
        let leaves = ticket.stays.map_or(Duration::MAX, |stays| ticket.arrives.saturating_add(stays));
        there.push(Reverse((leaves, connections)));
        now += connections;
        viewers = viewers.max(there.len() as u64);
        wanted = wanted.max(now);
    }
    (viewers + DESCRIPTORS_BESIDE, wanted + DESCRIPTORS_BESIDE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::run::fake;

    #[test]
    fn those_who_are_there_at_the_same_time_count() {
        let scenario = fake::scenario(100, 100);
        let mut tickets = fake::tickets(100, Duration::ZERO, Duration::from_secs(100));
        assert_eq!(needed(&scenario, &tickets), (100 + DESCRIPTORS_BESIDE, 300 + DESCRIPTORS_BESIDE));
        for ticket in &mut tickets {
            ticket.stays = Some(Duration::from_secs(10));
        }
        assert_eq!(needed(&scenario, &tickets), (10 + DESCRIPTORS_BESIDE, 30 + DESCRIPTORS_BESIDE));
    }

    #[test]
    fn a_limit_that_is_too_low_is_named_with_its_remedy() {
        let error = judge(1000, 1001, 3000).unwrap_err().to_string();
        assert!(
            error.contains("1001") && error.contains("the limit is 1000") && error.contains("ulimit -Hn"),
            "{error}"
        );
        assert!(judge(1000, 1000, 3000).unwrap().unwrap().contains("3000"));
        assert_eq!(judge(3000, 1000, 3000).unwrap(), None);
    }
}

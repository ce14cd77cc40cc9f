//! Who arrives when, what each viewer is like and how long it stays: from the seed alone.
//!
//! Every ticket has random numbers of its own, which follow from the scenario's seed, the arrivals it belongs to, and its place
//! among them. So what a viewer is like does not change when others come too; its number does, since viewers are numbered in
//! order of arrival, and with [`Spread::Even`] its time does.

use std::f64::consts::PI;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp};
use rand_pcg::Pcg64Mcg;

use super::catalogue::Catalogue;
use super::{Arrivals, Group, Scenario, Spread};

/// One viewer, before it has done anything. All that is random about it follows from `seed`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticket {
    /// From 0 on, in order of arrival.
    pub(crate) viewer: u32,
    /// Its own random numbers begin here.
    pub(crate) seed: u64,
    /// From the start of the run.
    pub(crate) arrives: Duration,
    /// How long it stays; none: to the end.
    pub(crate) stays: Option<Duration>,
    /// Index of its [`super::Group`].
    pub(crate) group: usize,
    /// What it watches first: an index into the scenario's [`super::catalogue::Catalogue`].
    pub(crate) title: usize,
}

/// Everybody, in order of arrival.
pub(crate) fn tickets(scenario: &Scenario) -> Vec<Ticket> {
    let catalogue = Catalogue::of(scenario);
    let viewers = scenario.viewers() as usize;
    let mut tickets = Vec::with_capacity(viewers);
    for (wave, arrivals) in scenario.audience.arrivals.iter().enumerate() {
        let wave = mixed(mixed(scenario.seed) ^ wave as u64);
        tickets.extend((0..arrivals.viewers).map(|place| {
            let mut random = Pcg64Mcg::seed_from_u64(mixed(wave ^ u64::from(place)));
            ticket(scenario, &catalogue, arrivals, place, &mut random)
        }));
    }
    // Stable: who comes at the same moment stays in the order of the file.
    tickets.sort_by_key(|ticket| ticket.arrives);
    for (viewer, ticket) in tickets.iter_mut().enumerate() {
        ticket.viewer = viewer as u32;
    }
    tickets
}

/// The ticket at a place of its arrivals; its number is given out later. Each thing is drawn whether it is used or not, so that
/// one key of a scenario changes one thing about a viewer.
fn ticket(
    scenario: &Scenario,
    catalogue: &Catalogue,
    arrivals: &Arrivals,
    place: u32,
    random: &mut Pcg64Mcg,
) -> Ticket {
    let seed = random.random();
    let arrives = arrivals.at + arrivals.over.mul_f64(arrivals.share_before(place, random.random()));
    let group = pick(&scenario.groups, random.random());
    let stay: f64 = Exp::new(1.0).map_or(1.0, |one| one.sample(random));
    let stays = scenario.audience.stay.map(|mean| mean.mul_f64(stay));
    let title = scenario.groups.get(group).map_or(0, |group| catalogue.choose(group, random));
    Ticket { viewer: 0, seed, arrives, stays, group, title }
}

/// The group at a share of the audience, from 0 up to 1.
fn pick(groups: &[Group], share: f64) -> usize {
    let mut sum = 0.0;
    let found = groups.iter().position(|group| {
        sum += group.share;
        share < sum
    });
    // Shares may sum to a little less than 1.
    found.unwrap_or(groups.len().saturating_sub(1))
}

/// Spreads a number over all numbers of 64 bits (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// === impl Arrivals ===

impl Arrivals {
    /// Which share of the time has passed when the viewer at this place comes. `drawn` is its random number from 0 up to 1.
    fn share_before(&self, place: u32, drawn: f64) -> f64 {
        match self.spread {
            Spread::Even => f64::from(place) / f64::from(self.viewers.max(1)),
            // So many arrivals of a Poisson process, in any order, are independent of each other and uniform.
            Spread::Random => drawn,
            // The inverse of (1 - cos(pi x)) / 2, the share that has come by x.
            Spread::Rush => (1.0 - 2.0 * drawn).acos() / PI,
        }
    }
}

#[cfg(test)]
mod tests;

//! Several processes or machines in one run. The one that conducts it listens ([`coordinator`]), the others join it
//! ([`worker`]): `forebay-loadtest join ADDRESS`. Viewers belong to workers by their numbers; each worker measures how far its clock is
//! from the coordinator's ([`clock`]), so that all begin together, and sends what each second came to.
//!
//! They speak JSON, a message a line ([`line`], [`message`]). Nobody is asked who they are: a worker does what the coordinator says,
//! so this is for networks of one's own.

mod clock;
pub(crate) mod coordinator;
mod line;
mod message;
pub(crate) mod worker;

#[cfg(test)]
mod tests;

pub(crate) use self::worker::{Arguments, run};

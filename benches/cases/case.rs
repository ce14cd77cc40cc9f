//! What a case is: one thing that the node does, made ready to be done again and again.
//!
//! Says nothing of how it is measured: `benches/times.rs` takes the time, `benches/instructions.rs` counts instructions, and
//! `tests/micro.rs` holds each case to what it says that it does.

/// One thing that the node does.
pub trait Case {
    /// Turns after which [`Case::forget`] is called, outside of what is measured; 0: never.
    const TURNS_MAX: u64 = 0;

    /// Does it. Turns count from 0, so that one after the other takes another of the inputs. What comes back is what was found
    /// out: it differs when the case does not do what it is for.
    fn run(&self, turn: u64) -> u64;

    /// What every turn gives back.
    fn expected(&self) -> u64;

    /// Puts it back to where it began.
    fn forget(&self) {}

    /// Bytes of body that a turn brings, where that is what it is about.
    fn body_bytes(&self) -> Option<u64> {
        None
    }
}

/// Turns that are taken before anything is measured: what is made once and kept is there then.
const WARM_TURNS: u64 = 64;

/// The case after its first turns, which do what they are for, and put back to where it began.
///
/// # Panics
/// They do not.
pub fn warmed<C: Case>(case: C) -> C {
    for turn in 0..WARM_TURNS {
        assert_eq!(case.run(turn), case.expected(), "{}, turn {turn}", std::any::type_name::<C>());
    }
    case.forget();
    case
}

//! Every case of the list, shown to whoever measures or checks them.

use super::case::Case;
use super::list::each_case;
use super::{freshness, hit, key, playlist, range, store, token};

/// What is done with each case; it is made only where it is wanted.
pub trait Visitor {
    /// Takes a case.
    fn visit<C: Case>(&mut self, group: &str, name: &str, make: fn() -> C);

    /// Takes a case that several threads have at once.
    fn visit_threads<C: Case + Sync>(&mut self, group: &str, name: &str, threads: usize, make: fn() -> C);
}

/// Shows every case, group after group, in the order in which a request meets them.
pub fn visit(visitor: &mut impl Visitor) {
    macro_rules! show {
        ($(
            $group:ident { $($name:ident)* }
            $(+ threads($threads:literal) { $($threaded:ident)* })?
            $(+ timed { $($timed:ident)* })?
        )*) => {
            $(
                $(visitor.visit(stringify!($group), stringify!($name), $group::$name);)*
                $($(
                    let name = concat!(stringify!($threaded), "_", $threads, "_threads");
                    visitor.visit_threads(stringify!($group), name, $threads, $group::$threaded);
                )*)?
                $($(visitor.visit(stringify!($group), stringify!($timed), $group::$timed);)*)?
            )*
        };
    }
    each_case!(show);
}

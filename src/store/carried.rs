//! What an object's text was split into, so that viewers' tokens can be put between: a place for each form, filled once.
//!
//! They hang on the object that they were made from and go with it. An object that takes its place around the same body
//! shares them. What a split is, and when one is made, is decided by [`crate::carry`] and by those who deliver.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::budget::Reservation;
use super::object::HitHeader;
use crate::carry::{Form, Split};

/// The splits of one text.
#[derive(Debug, Default)]
pub struct Carried {
    /// None until one is wanted: most objects are media.
    splits: OnceLock<Box<Splits>>,
}

#[derive(Debug, Default)]
struct Splits {
    places: Arc<[OnceLock<Option<Arc<Kept>>>; 3]>,
    /// The header of plain hits, as [`super::Object::hit_header`], before anything in it that is one viewer's.
    hit_header: ArcSwapOption<HitHeader>,
}

/// A split, and what it takes of the budget.
#[derive(Debug)]
pub struct Kept {
    /// The split.
    pub split: Split,
    /// None: there was no room, and it goes with the answer that it was made for.
    pub reservation: Option<Reservation>,
}

impl Carried {
    /// The split for a form; None: it has not been made yet. Some(None): the text cannot be split, and goes as it is.
    pub fn split(&self, form: Form) -> Option<&Option<Arc<Kept>>> {
        self.place(form).get()
    }

    /// Keeps a split; the first one stays.
    pub fn keep(&self, form: Form, split: Option<Arc<Kept>>) {
        let _ = self.place(form).set(split);
    }

    /// The header of a plain hit with a token in its text, made once a second.
    pub fn hit_header(&self) -> &ArcSwapOption<HitHeader> {
        &self.splits().hit_header
    }

    /// The same splits, for an object around the same body.
    pub fn again(&self) -> Carried {
        // Nothing is made for an object that has none: a text is split again in no time.
        let Some(splits) = self.splits.get() else { return Carried::default() };
        let splits = Splits { places: Arc::clone(&splits.places), ..Splits::default() };
        Carried { splits: OnceLock::from(Box::new(splits)) }
    }

    fn place(&self, form: Form) -> &OnceLock<Option<Arc<Kept>>> {
        &self.splits().places[form as usize]
    }

    fn splits(&self) -> &Splits {
        self.splits.get_or_init(Box::default)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_split_is_shared_by_objects_around_the_same_body() {
        let carried = Carried::default();
        assert!(carried.split(Form::Path).is_none());
        carried.keep(Form::Path, None);
        carried.keep(Form::Path, None);
        assert!(matches!(carried.split(Form::Path), Some(None)));
        assert!(carried.split(Form::Query).is_none(), "each form has its own");
        assert!(matches!(carried.again().split(Form::Path), Some(None)));
        assert!(Carried::default().again().split(Form::Path).is_none());
    }
}

//! A volume against a map: any sequence of operations and restarts.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put {
        number: u8,
        len: u16,
    },
    Meta {
        number: u8,
    },
    Remove {
        number: u8,
    },
    Find {
        number: u8,
    },
    Flush,
    Clear,
    /// A restart; `recover_first`: before anything else is done.
    Restart {
        in_order: bool,
        recover_first: bool,
    },
    Recover,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..20_u8;
    prop_oneof![
        60 => (number.clone(), 0..12_000_u16).prop_map(|(number, len)| Step::Put { number, len }),
        8 => number.clone().prop_map(|number| Step::Meta { number }),
        8 => number.clone().prop_map(|number| Step::Remove { number }),
        20 => number.prop_map(|number| Step::Find { number }),
        3 => Just(Step::Flush),
        1 => Just(Step::Clear),
        4 => any::<(bool, bool)>()
            .prop_map(|(in_order, recover_first)| Step::Restart { in_order, recover_first }),
        3 => Just(Step::Recover),
    ]
}

/// What an object is, if it is held.
#[derive(Clone, Copy)]
struct Expected {
    version: u64,
    len: usize,
    meta: u64,
}

#[derive(Default)]
struct Model {
    objects: HashMap<u8, Expected>,
    version: u64,
}

impl Model {
    fn run(&mut self, place: &Place, volume: &mut Option<Volume>, step: &Step) {
        let it = volume.as_ref().unwrap();
        self.version += 1;
        let version = self.version;
        match *step {
            Step::Put { number, len } => {
                let key = format!("1 /{number}");
                put(it, &key, version, len.into()).unwrap();
                self.objects.insert(number, Expected { version, len: len.into(), meta: version });
            }
            Step::Meta { number } => {
                let key = format!("1 /{number}");
                if it.append_meta(&key, &meta(&key, version)).unwrap() {
                    self.objects.get_mut(&number).unwrap().meta = version;
                }
            }
            Step::Remove { number } => {
                it.remove(&format!("1 /{number}"));
                self.objects.remove(&number);
            }
            Step::Find { number } => self.check(it, number),
            // Every removal is made to last before the volume is left: what is not, may come back.
            Step::Flush => it.flush_tombstones().unwrap(),
            Step::Clear => {
                it.clear().unwrap();
                self.objects.clear();
            }
            Step::Restart { in_order, recover_first } => {
                if in_order {
                    it.seal_and_close().unwrap()
                } else {
                    it.flush_tombstones().unwrap()
                }
                *volume = None;
                let again = place.open();
                if recover_first {
                    again.recover(&AtomicBool::new(false));
                }
                *volume = Some(again);
            }
            Step::Recover => drop(it.recover(&AtomicBool::new(false))),
        }
    }

    fn check(&self, volume: &Volume, number: u8) {
        let key = format!("1 /{number}");
        let Some(found) = get(volume, &key) else { return };
        let expected = self.objects.get(&number).unwrap_or_else(|| panic!("{key} was removed"));
        let (found_meta, body) = found.unwrap();
        assert!(body == content(&key, expected.version, expected.len), "{key}: another version's body");
        assert_eq!(found_meta, meta(&key, expected.meta), "{key}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_volume_holds_the_newest_version_of_an_object_or_none(steps in prop::collection::vec(step(), 1..300)) {
        let place = Place::small();
        let mut model = Model::default();
        let mut volume = Some(place.open());
        for step in &steps {
            model.run(&place, &mut volume, step);
        }
        let volume = volume.unwrap();
        volume.recover(&AtomicBool::new(false));
        (0..20).for_each(|number| model.check(&volume, number));
        assert_accounts(&volume);
        prop_assert!(place.file_bytes() <= place.options.size);
    }
}

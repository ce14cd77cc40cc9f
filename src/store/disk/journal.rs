//! A journal: notes of a fixed size in a disk's directory, which must not be forgotten once they are written.
//!
//! Two files take turns: one is appended to; when it is full, what is still of use goes into the other one, whose head is
//! written last, and the first is removed. Decides what of a journal can be believed: a note that was being written when
//! the node ended is none, anything else that is not whole is damage. What notes mean is not known here. Blocks.

use std::io::{self, IoSlice};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::device::{Device, DeviceFile};
use super::region::{ReadError, read_exact, write_all};

/// Bytes of a note.
pub const NOTE_BYTES: usize = 56;

/// What is written down.
pub type Note = [u8; NOTE_BYTES];

/// Notes that are appended to a journal until it is written anew with those that are still of use: 1 MiB of them.
pub const APPENDS_MAX: usize = 16 * 1024;

/// Notes of a journal at most; a longer file is none.
const NOTES_MAX: usize = 1024 * 1024;

const SLOT_BYTES: usize = NOTE_BYTES + 8;
const NAMES: [&str; 2] = ["purges-0", "purges-1"];
const MAGIC: &[u8; 8] = b"fbpurge1";
const ZEROS: [u8; 4096] = [0; 4096];

/// A journal that is open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<dyn DeviceFile>,
    /// Which of the two files it is: this number's last bit.
    epoch: u64,
    /// Slots in use, the head included.
    tail: usize,
    slots: usize,
}

/// What a directory has of a journal.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whole notes, the oldest first; also those of a journal that is damaged.
    pub(super) notes: Vec<Note>,
    /// The highest number of a file.
    pub(super) epoch: u64,
    /// Whether there is a journal.
    pub(super) found: bool,
    /// What is wrong with it.
    pub(super) damage: Option<&'static str>,
}

/// A file of a journal.
enum Side {
    /// Not there, or never finished.
    Nothing,
    Damaged(&'static str),
    Whole {
        epoch: u64,
        notes: Vec<Note>,
        damage: Option<&'static str>,
    },
}

/// Reads what there is of a journal.
///
/// # Errors
/// If the device fails.
pub(super) fn read(device: &dyn Device) -> io::Result<Kept> {
    let mut kept = Kept::default();
    let mut damage = None;
    for (side, name) in NAMES.iter().enumerate() {
        match read_side(device, name, side as u64)? {
            Side::Nothing => {}
            Side::Damaged(what) => damage = Some(what),
            Side::Whole { epoch, notes, damage } => {
                // The older one is what a rewriting has left.
                if epoch >= kept.epoch {
                    kept = Kept { notes, epoch, found: true, damage };
                }
            }
        }
    }
    kept.damage = damage.or(kept.damage);
    Ok(kept)
}

fn read_side(device: &dyn Device, name: &str, side: u64) -> io::Result<Side> {
    let file = match device.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Side::Nothing),
        opened => opened?,
    };
    let len = usize::try_from(file.len_bytes()?).unwrap_or(usize::MAX);
    if len > (NOTES_MAX + 1) * SLOT_BYTES {
        return Ok(Side::Damaged("longer than a journal can be"));
    }
    let bytes = match read_exact(&*file, 0, len, false) {
        Ok(bytes) => bytes,
        Err(ReadError::Io(error)) => return Err(error),
        Err(_) => return Ok(Side::Damaged("shorter than its length")),
    };
    Ok(parse(&bytes, side))
}

fn parse(bytes: &[u8], side: u64) -> Side {
    let (head, rest) = bytes.split_at(SLOT_BYTES.min(bytes.len()));
    let epoch = match open_slot(head, 0, 0) {
        Slot::Whole(head) if head.starts_with(MAGIC) => {
            head.get(8..16).and_then(|epoch| epoch.try_into().ok()).map_or(0, u64::from_le_bytes)
        }
        Slot::Empty | Slot::Torn => return Side::Nothing,
        Slot::Whole(_) | Slot::Damaged => return Side::Damaged("its head is damaged"),
    };
    if epoch % 2 != side {
        return Side::Damaged("it stands under another name");
    }
    let mut notes = Vec::new();
    for (index, slot) in rest.chunks(SLOT_BYTES).enumerate() {
        let damage = match open_slot(slot, epoch, index + 1) {
            Slot::Whole(note) => {
                notes.push(note);
                continue;
            }
            Slot::Damaged => Some("a note is damaged"),
            Slot::Empty | Slot::Torn => {
                let behind = rest.get((index + 1) * SLOT_BYTES..).unwrap_or_default();
                let mut blocks = behind.chunks(ZEROS.len());
                blocks.any(|block| !ZEROS.starts_with(block)).then_some("a note is missing")
            }
        };
        return Side::Whole { epoch, notes, damage };
    }
    Side::Whole { epoch, notes, damage: None }
}

enum Slot {
    Empty,
    /// Begun and not ended: its checksum, which stands last, is not there.
    Torn,
    Whole(Note),
    Damaged,
}

fn open_slot(slot: &[u8], epoch: u64, index: usize) -> Slot {
    let Some((note, sum)) = slot.split_first_chunk::<NOTE_BYTES>() else { return Slot::Torn };
    let Ok(sum) = <[u8; 8]>::try_from(sum) else { return Slot::Torn };
    match u64::from_le_bytes(sum) {
        0 if note.iter().all(|byte| *byte == 0) => Slot::Empty,
        0 => Slot::Torn,
        sum if sum == checksum(note, epoch, index) => Slot::Whole(*note),
        _ => Slot::Damaged,
    }
}

/// Never 0, which stands for what was not written.
fn checksum(note: &Note, epoch: u64, index: usize) -> u64 {
    xxh3_64_with_seed(note, epoch.rotate_left(32) ^ index as u64).max(1)
}

fn put_slot(bytes: &mut Vec<u8>, note: &Note, epoch: u64, index: usize) {
    bytes.extend_from_slice(note);
    bytes.extend_from_slice(&checksum(note, epoch, index).to_le_bytes());
}

impl Journal {
    /// Writes a journal of these notes in place of the one of number `after`; returns when it stands on the disk.
    ///
    /// # Errors
    /// As the file system says; the earlier one is still there then.
    pub(super) fn begin(device: &dyn Device, after: u64, notes: &[Note]) -> io::Result<Journal> {
        let epoch = after + 1;
        let [this, other] = if epoch.is_multiple_of(2) { NAMES } else { [NAMES[1], NAMES[0]] };
        remove(device, this)?;
        let slots = 1 + notes.len() + APPENDS_MAX;
        let file = device.create(this, (slots * SLOT_BYTES) as u64)?;
        let mut journal = Journal { file, epoch, tail: 1, slots };
        journal.write(notes)?;
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        // The head cannot be checked with the number that it tells.
        put_slot(&mut bytes, &head(epoch), 0, 0);
        write_all(&*journal.file, &mut [IoSlice::new(&bytes)], 0)?;
        journal.file.sync_data()?;
        remove(device, other)?;
        Ok(journal)
    }

    /// Its number: the next one's is higher.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether so many more notes fit.
    pub(super) fn has_room(&self, notes: usize) -> bool {
        self.tail + notes <= self.slots
    }

    /// Appends notes; returns when they stand on the disk.
    ///
    /// # Errors
    /// As the file system says; the journal is to be begun anew then, for what stands at its end is not known.
    pub(super) fn write(&mut self, notes: &[Note]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(notes.len() * SLOT_BYTES);
        for (place, note) in notes.iter().enumerate() {
            put_slot(&mut bytes, note, self.epoch, self.tail + place);
        }
        write_all(&*self.file, &mut [IoSlice::new(&bytes)], (self.tail * SLOT_BYTES) as u64)?;
        self.file.sync_data()?;
        self.tail += notes.len();
        Ok(())
    }
}

fn head(epoch: u64) -> Note {
    let mut head = [0; NOTE_BYTES];
    let words = MAGIC.iter().copied().chain(epoch.to_le_bytes());
    head.iter_mut().zip(words).for_each(|(place, byte)| *place = byte);
    head
}

fn remove(device: &dyn Device, name: &str) -> io::Result<()> {
    match device.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::store::disk::device::Directory;

    fn note(number: u8) -> Note {
        [number; NOTE_BYTES]
    }

    /// A journal of notes 1 to `last`, half of them appended, and the folder that it stands in.
    fn journal(last: u8) -> (tempfile::TempDir, Directory, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let device = Directory::new(folder.path()).unwrap();
        let begun: Vec<Note> = (1..=last / 2).map(note).collect();
        let mut journal = Journal::begin(&device, 0, &begun).unwrap();
        for number in last / 2 + 1..=last {
            journal.write(&[note(number)]).unwrap();
        }
        (folder, device, journal)
    }

    fn numbers(kept: &Kept) -> Vec<u8> {
        kept.notes.iter().map(|note| note[0]).collect()
    }

    #[test]
    fn notes_come_back_in_their_order_and_only_those_of_the_newest_journal() {
        let (_folder, device, journal) = journal(6);
        let kept = read(&device).unwrap();
        assert_eq!((numbers(&kept), kept.found, kept.damage), ((1..=6).collect(), true, None));
        let newer = Journal::begin(&device, journal.epoch(), &[note(9)]).unwrap();
        assert!(newer.epoch() > journal.epoch());
        let kept = read(&device).unwrap();
        assert_eq!((numbers(&kept), kept.epoch), (vec![9], newer.epoch()));
        assert_eq!(device.list().unwrap().len(), 1, "the older one is removed");
    }

    #[test]
    fn an_empty_directory_has_no_journal_and_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let kept = read(&Directory::new(folder.path()).unwrap()).unwrap();
        assert!(!kept.found && kept.damage.is_none() && kept.notes.is_empty());
    }

    /// Wherever the last note was cut when the node ended: the others are there, and nothing is damaged.
    #[test]
    fn a_torn_tail_is_a_note_never_written() {
        for cut in 0..SLOT_BYTES {
            for shorter in [false, true] {
                let (folder, device, journal) = journal(4);
                let path = folder.path().join(NAMES[1]);
                let mut bytes = std::fs::read(&path).unwrap();
                let tail = (journal.tail - 1) * SLOT_BYTES;
                bytes[tail + cut.min(NOTE_BYTES)..].fill(0);
                if shorter {
                    bytes.truncate(tail + cut);
                }
                std::fs::write(&path, bytes).unwrap();
                let kept = read(&device).unwrap();
                assert_eq!((numbers(&kept), kept.damage), (vec![1, 2, 3], None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn any_damage_before_the_tail_is_told() {
        let (folder, device, journal) = journal(4);
        let path = folder.path().join(NAMES[1]);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..journal.tail * SLOT_BYTES {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&device).unwrap().damage.is_some(), "a bit flipped at {at}");
        }
        for slot in 1..journal.tail - 1 {
            let mut bytes = whole.clone();
            bytes[slot * SLOT_BYTES..(slot + 1) * SLOT_BYTES].fill(0);
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&device).unwrap().damage.is_some(), "note {slot} is missing");
        }
    }

    #[test]
    fn a_rewriting_that_was_cut_off_leaves_the_earlier_journal() {
        let (folder, device, _journal) = journal(4);
        // Its notes are there, its head is not.
        std::fs::write(folder.path().join(NAMES[0]), vec![0; 3 * SLOT_BYTES]).unwrap();
        let kept = read(&device).unwrap();
        assert_eq!((numbers(&kept), kept.damage), (vec![1, 2, 3, 4], None));
    }

    #[test]
    fn it_is_full_after_its_appends() {
        let (_folder, device, _journal) = journal(2);
        let mut journal = Journal::begin(&device, 5, &[note(1)]).unwrap();
        assert!(journal.has_room(APPENDS_MAX) && !journal.has_room(APPENDS_MAX + 1));
        journal.write(&vec![note(2); APPENDS_MAX]).unwrap();
        assert!(!journal.has_room(1));
        assert_eq!(read(&device).unwrap().notes.len(), APPENDS_MAX + 1);
    }
}

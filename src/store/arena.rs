//! A place for bodies from which the kernel can send without copying: an anonymous file in memory (memfd) and one
//! mapping of it.
//!
//! Decides where in the file a chunk stands and when its pages go; which bodies stand here is [`super::hot`]'s decision.
//! The file is sparse and as long as it will ever be; a chunk takes a slot of [`CHUNK_BYTES`] of it, and the pages that
//! it fills. What a slot holds never changes: it is written before anybody reads it, by `pwrite` alone. Pages handed to
//! a socket stay in use there after the call, so a slot is never written over: its pages are taken out of the file
//! first, and sockets keep the old ones until their bytes have been read. That holds as long as the system gives such files
//! no huge pages; nothing moves here while it does.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::protocols::l4::stream::Stream as TcpStream;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};

use super::body::CHUNK_BYTES;
use super::hot::MOVED_BYTES_MIN;

/// Bytes of one write into the file: a slot that is freed meanwhile waits no longer than this takes.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes of a page; an accounting unit alone, where the system's pages are larger the figures are too small.
const PAGE_BYTES: u64 = 4096;

/// Where the kernel tells which sizes of page it may use for files in memory.
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

/// Why there is no arena.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// A system call is refused.
    #[error("{call}: {source}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Files of this process may not be as long as the arena.
    #[error("the limit on the size of files (RLIMIT_FSIZE) is {limit} bytes, {needed} are needed")]
    FileSize {
        /// The limit, in bytes.
        limit: u64,
        /// Length of the arena's file, in bytes.
        needed: u64,
    },
    /// The kernel may use pages larger than a slot: those cannot be taken out of the file slot by slot.
    #[error("{HUGE_PAGES}: huge pages are enabled for files in memory")]
    HugePages,
}

/// The arena. See the module's documentation.
#[derive(Debug)]
pub struct Arena {
    file: OwnedFd,
    /// Address of the mapping.
    base: usize,
    /// Length of file and mapping, in bytes.
    len: usize,
    slots: Mutex<Slots>,
    /// Bytes of the pages in use.
    bytes: AtomicU64,
    /// Pages could not be taken out: nothing is written any more.
    spoilt: AtomicBool,
}

#[derive(Debug, Default)]
struct Slots {
    /// Numbers of slots whose pages have been taken out.
    free: Vec<usize>,
    /// Slots from this number on were never used.
    fresh: usize,
}

/// A slot in use; empty again when dropped.
struct Slot {
    arena: Arc<Arena>,
    number: usize,
    /// Bytes written.
    len: usize,
}

fn refused(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> ArenaError {
    move |errno| ArenaError::Refused { call, source: errno.into() }
}

impl Arena {
    /// An arena for bodies of `memory` bytes in all.
    ///
    /// # Errors
    /// [`ArenaError`]; bodies stay on the heap then.
    pub fn new(memory: u64) -> Result<Arc<Arena>, ArenaError> {
        // The smallest body that comes here takes a slot, too.
        let needed = (memory / MOVED_BYTES_MIN).max(1).saturating_mul(CHUNK_BYTES as u64);
        if huge_pages(Path::new(HUGE_PAGES)) {
            return Err(ArenaError::HugePages);
        }
        // Beyond it, the kernel ends the process.
        if let Some(limit) = getrlimit(Resource::Fsize).current
            && limit < needed
        {
            return Err(ArenaError::FileSize { limit, needed });
        }
        let file = memory_file().map_err(refused("memfd_create"))?;
        rustix::fs::ftruncate(&file, needed).map_err(refused("ftruncate"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(refused("fcntl"))?;
        let len = usize::try_from(needed)
            .map_err(|_| ArenaError::Refused { call: "mmap", source: io::ErrorKind::OutOfMemory.into() })?;
        punch(&file, 0).map_err(refused("fallocate"))?;
        let base = map(&file, len).map_err(refused("mmap"))?;
        let slots = Mutex::default();
        Ok(Arc::new(Arena {
            file,
            base,
            len,
            slots,
            bytes: AtomicU64::new(0),
            spoilt: AtomicBool::new(false),
        }))
    }

    /// Bytes of the pages in use, rounded up to whole pages.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether anything may be written now: not once pages could not be taken out, nor while the kernel may use pages
    /// larger than a slot.
    pub(super) fn is_usable(&self) -> bool {
        !self.spoilt.load(Ordering::Relaxed) && !huge_pages(Path::new(HUGE_PAGES))
    }

    /// Copies a chunk, of at most [`CHUNK_BYTES`], into the arena. Blocks for as long as the copy takes.
    ///
    /// # Errors
    /// When there is no slot, or no memory.
    pub(super) fn keep(self: &Arc<Self>, chunk: &[u8]) -> io::Result<Bytes> {
        if chunk.len() > CHUNK_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut slot = self.take_slot().ok_or(io::ErrorKind::StorageFull)?;
        while slot.len < chunk.len() {
            let end = chunk.len().min(slot.len + WRITE_BYTES);
            let written = rustix::io::pwrite(
                &self.file,
                chunk.get(slot.len..end).unwrap_or_default(),
                (slot.offset() + slot.len) as u64,
            )?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            slot.grow_to(slot.len + written);
        }
        Ok(Bytes::from_owner(slot))
    }

    /// Where in the file these bytes stand, if they are the arena's.
    pub(crate) fn offset_of(&self, bytes: &[u8]) -> Option<u64> {
        let offset = bytes.as_ptr().addr().wrapping_sub(self.base);
        (offset < self.len).then_some(offset as u64)
    }

    /// Has the kernel send bytes of the file: as many as the socket takes now.
    ///
    /// # Errors
    /// As `sendfile(2)`; `EAGAIN` when it takes none.
    pub(crate) fn send(&self, socket: &TcpStream, mut offset: u64, len: usize) -> io::Result<usize> {
        // SAFETY: the stream owns its descriptor and is borrowed until the call has returned.
        #[allow(unsafe_code, reason = "the engine's stream gives its descriptor in no other form")]
        let socket = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        Ok(rustix::fs::sendfile(socket, &self.file, Some(&mut offset), len)?)
    }

    fn take_slot(self: &Arc<Self>) -> Option<Slot> {
        let mut slots = self.slots.lock();
        let number = match slots.free.pop() {
            Some(number) => number,
            None if slots.fresh < self.len / CHUNK_BYTES => {
                slots.fresh += 1;
                slots.fresh - 1
            }
            None => return None,
        };
        Some(Slot { arena: Arc::clone(self), number, len: 0 })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length and is taken back once. Every slice of it belongs
        // to a slot, and each slot holds the arena.
        #[allow(unsafe_code, reason = "a mapping is taken back by its address")]
        let unmapped = unsafe { rustix::mm::munmap(ptr::with_exposed_provenance_mut(self.base), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

impl Slot {
    fn offset(&self) -> usize {
        self.number * CHUNK_BYTES
    }

    fn grow_to(&mut self, len: usize) {
        self.arena.bytes.fetch_add(pages(len) - pages(self.len), Ordering::Relaxed);
        self.len = len;
    }
}

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        let start: *const u8 = ptr::with_exposed_provenance(self.arena.base + self.offset());
        // SAFETY: the slot lies inside the mapping, which lives as long as the arena, which the slot holds. Its first
        // `len` bytes were written before the slot was handed out; no one writes to a slot in use, the mapping is
        // read-only, and the file is sealed against shrinking and given to no other process.
        #[allow(unsafe_code, reason = "memory that the kernel sends from is no Rust allocation")]
        unsafe {
            std::slice::from_raw_parts(start, self.len)
        }
    }
}

impl Drop for Slot {
    /// Takes the slot's pages out of the file, at about twice the cost of an `munmap` of them, and frees it. One whose
    /// pages stay is not used again: what a socket still sends would change.
    fn drop(&mut self) {
        match punch(&self.arena.file, self.offset() as u64) {
            Ok(()) => {
                self.arena.bytes.fetch_sub(pages(self.len), Ordering::Relaxed);
                self.arena.slots.lock().free.push(self.number);
            }
            Err(error) => {
                if !self.arena.spoilt.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "memory for zero-copy sending cannot be given back: no more is taken");
                }
            }
        }
    }
}

/// Bytes of the pages that so many bytes take.
fn pages(len: usize) -> u64 {
    (len as u64).next_multiple_of(PAGE_BYTES)
}

fn memory_file() -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the third flag.
    rustix::fs::memfd_create(c"forebay-bodies", flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(c"forebay-bodies", flags))
}

/// Maps the file for reading; gives the address.
fn map(file: &OwnedFd, len: usize) -> rustix::io::Result<usize> {
    // SAFETY: the kernel chooses the address, so no memory in use is mapped over.
    #[allow(unsafe_code, reason = "there is no other way to map a file")]
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
    Ok(base.expose_provenance())
}

/// Takes the pages of the slot at `offset` out of the file.
fn punch(file: &OwnedFd, offset: u64) -> rustix::io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(file, flags, offset, CHUNK_BYTES as u64) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Whether the kernel may use pages larger than a slot for files in memory. A hole in part of such a page is made by
/// zeroing that part, in place: a socket would send the zeros.
fn huge_pages(settings: &Path) -> bool {
    let of_all = std::fs::read_to_string(settings.join("shmem_enabled")).unwrap_or_default();
    if ["[always]", "[within_size]", "[force]"].iter().any(|chosen| of_all.contains(chosen)) {
        return true;
    }
    let Ok(sizes) = std::fs::read_dir(settings) else { return false };
    sizes.flatten().any(|size| {
        let name = size.file_name();
        let kib =
            name.to_str().and_then(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok());
        kib.is_some_and(|kib: usize| kib.saturating_mul(1024) > CHUNK_BYTES) && {
            let of_size = std::fs::read_to_string(size.path().join("shmem_enabled")).unwrap_or_default();
            ["[always]", "[within_size]"].iter().any(|chosen| of_size.contains(chosen))
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    /// Bytes of memory that the file really takes.
    fn allocated(arena: &Arena) -> u64 {
        rustix::fs::fstat(&arena.file).unwrap().st_blocks.cast_unsigned() * 512
    }

    #[test]
    fn a_chunk_takes_its_pages_and_gives_them_back_when_its_last_reader_has_gone() {
        let arena = Arena::new(1 << 20).unwrap();
        let whole: Vec<u8> = (0..CHUNK_BYTES).map(|place| (place % 251) as u8).collect();
        let kept = arena.keep(&whole).unwrap();
        let tail = arena.keep(&whole[..70_000]).unwrap();
        assert!(kept == whole && tail == whole[..70_000]);
        assert_eq!(arena.offset_of(&kept), Some(0));
        assert_eq!(arena.offset_of(&tail[5..]), Some(CHUNK_BYTES as u64 + 5));
        assert_eq!(arena.offset_of(&whole), None);
        let pages = CHUNK_BYTES as u64 + 18 * PAGE_BYTES;
        assert_eq!((arena.bytes(), allocated(&arena)), (pages, pages));
        let part = tail.slice(1..2);
        drop((kept, tail));
        assert_eq!((arena.bytes(), allocated(&arena)), (18 * PAGE_BYTES, 18 * PAGE_BYTES));
        drop(part);
        assert_eq!((arena.bytes(), allocated(&arena)), (0, 0));
    }

    #[test]
    fn slots_are_used_again_and_none_is_used_twice() {
        let arena = Arena::new(4 * MOVED_BYTES_MIN).unwrap();
        let mut kept: Vec<Bytes> = (0..4_u8).map(|fill| arena.keep(&[fill; 100]).unwrap()).collect();
        assert_eq!(arena.keep(&[9]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        kept.remove(1);
        let again = arena.keep(&[9; 50]).unwrap();
        assert_eq!(arena.offset_of(&again), Some(CHUNK_BYTES as u64));
        assert!(again.iter().all(|byte| *byte == 9));
        for (chunk, fill) in kept.iter().zip([0, 2, 3]) {
            assert!(chunk.iter().all(|byte| *byte == fill));
        }
        assert!(arena.keep(&vec![0; CHUNK_BYTES + 1]).is_err());
    }

    #[test]
    fn an_arena_that_the_system_refuses_is_an_error_that_names_the_call() {
        let error = Arena::new(u64::MAX).unwrap_err();
        assert!(error.to_string().starts_with("ftruncate: "), "{error}");
        let error = Arena::new(1 << 56).unwrap_err();
        assert!(error.to_string().starts_with("mmap: "), "{error}");
    }

    #[test]
    fn pages_larger_than_a_slot_are_noticed() {
        let settings = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = settings.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        assert!(!huge_pages(settings.path()));
        write("shmem_enabled", "always within_size advise [never] deny force\n");
        write("hugepages-512kB/shmem_enabled", "[always] inherit within_size advise never\n");
        write("hugepages-2048kB/shmem_enabled", "always [inherit] within_size advise never\n");
        assert!(!huge_pages(settings.path()));
        write("hugepages-2048kB/shmem_enabled", "always inherit [within_size] advise never\n");
        assert!(huge_pages(settings.path()));
        write("hugepages-2048kB/shmem_enabled", "always [inherit] within_size advise never\n");
        write("shmem_enabled", "[always] within_size advise never deny force\n");
        assert!(huge_pages(settings.path()));
    }
}

//! Where a volume keeps its files: the one place that calls the operating system for the disk tier.
//!
//! Decides nothing about formats or retries. [`Directory`] is a real directory; [`faulty::Faulty`] wraps any device
//! and fails, delays or damages on demand, for tests. Called by the volume, its recovery and its verification.

pub mod faulty;

use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// Slices in one vectored write at most: Linux's `IOV_MAX`.
pub const WRITE_SLICES_MAX: usize = 1024;

/// Name of the file that the lock is taken on.
const LOCK: &str = "lock";

/// A flat folder of files, of one volume.
pub trait Device: Send + Sync + std::fmt::Debug {
    /// Opens a file that exists.
    ///
    /// # Errors
    /// As the file system says; `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DeviceFile>>;

    /// Creates a file of `len` bytes with its space reserved, or gives one that exists that length.
    ///
    /// # Errors
    /// `StorageFull` if the space is not there; no file is left that was not there before.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DeviceFile>>;

    /// Names of the files.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file. One that is open stays readable for those who have it open.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Takes the device for this process alone, until the returned value is dropped.
    ///
    /// # Errors
    /// `ResourceBusy`, naming the place, if another process holds it.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Bytes that the file system has left for an unprivileged process.
    ///
    /// # Errors
    /// As the file system says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One file of a device. Positions are given with each call: any number of threads read at once.
pub trait DeviceFile: Send + Sync + std::fmt::Debug {
    /// Reads at `offset` into `buf`; may wait for the disk. Returns the bytes read, 0 at the file's end.
    ///
    /// # Errors
    /// As the file system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads what stands in the page cache, without waiting for the disk; may read less than asked.
    ///
    /// # Errors
    /// `WouldBlock` if the first byte is not cached, or the file system cannot tell.
    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes the slices, at most [`WRITE_SLICES_MAX`], at `offset`; may write less than given.
    ///
    /// # Errors
    /// As the file system says.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Returns when everything written stands on the disk itself.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_data(&self) -> io::Result<()>;

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// As the file system says.
    fn len_bytes(&self) -> io::Result<u64>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    writable: bool,
}

/// A file of a [`Directory`].
#[derive(Debug)]
struct RegularFile(File);

/// What an operator can do about a directory that cannot be used.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create the directory, or mount its file system",
        io::ErrorKind::PermissionDenied => "make the directory writable for the user that forebay runs as",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable, or choose another directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there, or lower the size",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "name a directory, not a file",
        _ => "check the path and the device behind it",
    }
}

// === impl Directory ===

impl Directory {
    /// The directory at `path`, made if it does not exist.
    ///
    /// # Errors
    /// If it cannot be made, or is no directory.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Directory> {
        let path = path.into();
        std::fs::create_dir_all(&path).map_err(|error| at(&path, &error))?;
        Ok(Directory { path, writable: true })
    }

    /// The directory at `path` for reading only: whatever would change it is refused.
    ///
    /// # Errors
    /// If it does not exist, or is no directory.
    pub fn read_only(path: impl Into<PathBuf>) -> io::Result<Directory> {
        let path = path.into();
        std::fs::read_dir(&path).map_err(|error| at(&path, &error))?;
        Ok(Directory { path, writable: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn writable_path(&self, name: &str) -> io::Result<PathBuf> {
        if self.writable {
            self.file_path(name)
        } else {
            let message = format!("{}: opened for reading only", self.path.display());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
        }
    }

    fn file_path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is no file name of a volume"),
            ));
        }
        Ok(self.path.join(name))
    }
}

impl Device for Directory {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DeviceFile>> {
        let path = self.file_path(name)?;
        let file = OpenOptions::new().read(true).write(self.writable).open(&path)?;
        Ok(Arc::new(RegularFile(file)))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DeviceFile>> {
        let path = self.writable_path(name)?;
        let existed = path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if let Err(error) = reserve(&file, len) {
            if !existed {
                // The error that matters is the first one.
                let _ = std::fs::remove_file(&path);
            }
            return Err(error);
        }
        if !existed {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(Arc::new(RegularFile(file)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.writable_path(name)?)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let path = self.writable_path(LOCK)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{}: held by another process", path.display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(&self.path)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

/// Gives a file its length with the space behind it, where the file system can reserve.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The same error with the place it is about.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

// === impl RegularFile ===

impl DeviceFile for RegularFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let slices = &mut [IoSliceMut::new(buf)];
        rustix::io::preadv2(&self.0, slices, offset, ReadWriteFlags::NOWAIT).map_err(|errno| match errno {
            Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => io::ErrorKind::WouldBlock.into(),
            other => other.into(),
        })
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, slices, offset)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

//! Opening and creating files (tdb §5).

use crate::area::Area;
use crate::database::{Shared, Tdb};
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::free_trail::FreeTrail;
use crate::header::{
    HASH_SIZE, HASH_SIZE_DEFAULT, HASH_SIZE_MAX, HEADER_SIZE_BYTES, Header, HeaderFault,
    MUTEX_SIZE, data_start,
};
use crate::keys::Position;
use crate::lock_table::LockTable;
use crate::mutex_area::{MutexArea, mutex_area_size};
use crate::range_lock::{self, ACTIVE, ALL_RECORDS, Attempt, LockKind, OPEN, Wait};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};

/// How to open a file.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub flags: TdbFlags,
    /// Number of chains of a new file; 0 means 131. An existing file decides for itself.
    pub hash_size: u32,
    /// Dead records that a chain keeps for reuse; `TdbFlags::VOLATILE` means 5.
    pub max_dead: u32,
    /// Make the file if it is missing, empty or not a TDB file.
    pub create: bool,
    /// Permission bits of a new file.
    pub mode: u32,
    /// Takes no locks, so what is read may be torn; fails while a recovery is pending (P35).
    pub read_only: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            flags: TdbFlags::empty(),
            hash_size: 0,
            max_dead: 0,
            create: false,
            mode: 0o600,
            read_only: false,
        }
    }
}

impl Tdb {
    /// Opens a file in the order of tdb §5.2; blocks while another process opens or commits.
    ///
    /// # Errors
    ///
    /// `Refused` with libtdb's `errno` when the file is not for us, `Sys` when the system fails,
    /// `Corrupt` when an interrupted commit cannot be rolled back.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, TdbError> {
        let path: Arc<Path> = Arc::from(path);
        let flags = effective_flags(&path, options)?;
        if flags.contains(TdbFlags::INTERNAL) {
            return in_memory(path, options, flags);
        }
        let file = File::options()
            .read(true)
            .write(!options.read_only)
            .create(options.create && !options.read_only)
            .truncate(false)
            .mode(options.mode)
            .open(&path)
            .map_err(|error| TdbError::sys(&path, "open", &error))?;
        let opener = Opener { path, file: Arc::new(file), flags, options };
        let _ = opener.lock(OPEN, LockKind::Write, Wait::Block)?;
        let outcome = opener.open();
        // The descriptor lives on in the handle, so the lock must go explicitly.
        opener.unlock(OPEN)?;
        let (mut tdb, unowned) = outcome?;
        // A committer takes OPEN while it holds the whole database, so this waits until now.
        if let Some((start, end)) = unowned {
            tdb.reclaim(start, end)?;
        }
        Ok(tdb)
    }

    /// Another handle on the same file for another thread: a descriptor of its own, opened anew,
    /// with its own locks and its own mapping. The mutexes are mapped once per process and shared.
    ///
    /// # Errors
    ///
    /// `Sys` when the file cannot be opened again, `Invalid` for a database in memory.
    pub fn sibling(&self) -> Result<Self, TdbError> {
        let Some(own) = &self.file else {
            return Err(self.invalid("a database in memory has one handle"));
        };
        let sys = |call| move |error: io::Error| TdbError::sys(&self.path, call, &error);
        // The path may name another file by now; the descriptor cannot.
        let file = File::options()
            .read(true)
            .write(!self.read_only)
            .open(format!("/proc/self/fd/{}", own.as_raw_fd()))
            .or_else(|_| File::options().read(true).write(!self.read_only).open(&self.path))
            .map_err(sys("open"))?;
        if identity(&file).map_err(sys("fstat"))? != identity(own).map_err(sys("fstat"))? {
            return Err(self.invalid("the path names another file by now"));
        }
        let file = Arc::new(file);
        let mapped = !self.flags.contains(TdbFlags::NOMMAP);
        let offset = self.area.header_offset();
        let area = Area::file(self.path.clone(), file.clone(), offset, mapped, !self.read_only)?;
        Ok(Self {
            path: self.path.clone(),
            file: Some(file),
            shared: self.shared.clone(),
            area,
            flags: self.flags,
            hash: self.hash,
            swapped: self.swapped,
            hash_size: self.hash_size,
            max_dead: self.max_dead,
            read_only: self.read_only,
            locks: LockTable::default(),
            transaction: None,
            position: Position::default(),
            scratch: Vec::new(),
            free_trail: FreeTrail::default(),
        })
    }
}

/// Device and inode.
type Identity = (u64, u64);

struct Opener<'a> {
    path: Arc<Path>,
    file: Arc<File>,
    flags: TdbFlags,
    options: &'a OpenOptions,
}

impl Opener<'_> {
    /// Everything between taking OPEN and releasing it.
    fn open(&self) -> Result<(Tdb, Option<(u32, u32)>), TdbError> {
        let clear_if_first = self.flags.contains(TdbFlags::CLEAR_IF_FIRST);
        let mut first = false;
        if clear_if_first && self.lock(ACTIVE, LockKind::Write, Wait::Try)? == Attempt::Locked {
            first = true;
            let _ = self.lock(ALL_RECORDS, LockKind::Write, Wait::Block)?;
            self.create()?;
            self.unlock(ALL_RECORDS)?;
        }
        let header = match self.read_header() {
            Err(HeaderFault::NotTdb) if self.options.create && !self.options.read_only => {
                self.create()?;
                self.read_header()
            }
            other => other,
        };
        let header = header.map_err(|fault| match fault {
            HeaderFault::NotTdb => self.refused(None, "not a TDB file", libc::EIO),
            HeaderFault::Refused { offset, rule, errno } => self.refused(Some(offset), rule, errno),
        })?;
        let with_mutexes = self.admit_mutexes(&header)?;
        let writable = !self.options.read_only;
        let mapped = !self.flags.contains(TdbFlags::NOMMAP);
        let area = Area::file(
            self.path.clone(),
            self.file.clone(),
            u64::from(header.mutex_size),
            mapped,
            writable,
        )?;
        self.admit_size(&header, &area)?;
        if with_mutexes {
            self.check_alone_in_process()?;
        }
        let mutexes = if with_mutexes { Some(self.map_mutexes(&header)?) } else { None };
        if let Some(mutexes) = &mutexes
            && !clear_if_first
            && self.lock(ACTIVE, LockKind::Write, Wait::Try)? == Attempt::Locked
        {
            // Nobody can hold a mutex of a file that nobody has open.
            first = true;
            mutexes.initialise().map_err(|errno| self.sys("pthread_mutex_init", errno))?;
        }
        if let Some(mutexes) = &mutexes
            && !first
        {
            mutexes.wake_strays();
        }
        if first || clear_if_first {
            if first {
                self.unlock(ACTIVE)?;
            }
            // Unlocking before locking is safe, because every opener holds OPEN.
            let _ = self.lock(ACTIVE, LockKind::Read, Wait::Block)?;
        }
        let mut flags = self.flags - (TdbFlags::CONVERT | TdbFlags::BIGENDIAN);
        flags.set(TdbFlags::CONVERT, header.swapped);
        flags.set(TdbFlags::BIGENDIAN, header.swapped ^ cfg!(target_endian = "big"));
        let shared = Arc::new(Shared { _anchor: Some(self.file.clone()), mutexes });
        if shared.mutexes.is_some() {
            self.register(&shared)?;
        }
        let mut tdb = Tdb {
            path: self.path.clone(),
            file: Some(self.file.clone()),
            shared,
            area,
            flags,
            hash: header.hash,
            swapped: header.swapped,
            hash_size: header.hash_size,
            max_dead: max_dead(self.options),
            read_only: self.options.read_only,
            locks: LockTable::default(),
            transaction: None,
            position: Position::default(),
            scratch: Vec::new(),
            free_trail: FreeTrail::default(),
        };
        let unowned = tdb.roll_back()?;
        Ok((tdb, unowned))
    }

    /// True if this handle locks by mutexes (tdb §5.2 step 7).
    fn admit_mutexes(&self, header: &Header) -> Result<bool, TdbError> {
        if !header.mutexes {
            return Ok(false);
        }
        if self.lockless() {
            // The mutexes of others are left alone: re-initialising them, as libtdb does here,
            // takes them away from their holders (P38).
            return Ok(false);
        }
        if !self.flags.contains(TdbFlags::MUTEX_LOCKING) {
            return Err(self.refused(None, "needs mutex locking", libc::EINVAL));
        }
        if mutex_area_size(header.hash_size) != Some(header.mutex_size) {
            return Err(self.refused(
                Some(MUTEX_SIZE),
                "mutex area of another page size",
                libc::EINVAL,
            ));
        }
        Ok(true)
    }

    fn admit_size(&self, header: &Header, area: &Area) -> Result<(), TdbError> {
        let heads_end = 168 + 4 * u64::from(header.hash_size);
        let size = u64::from(area.size());
        if size == 0 {
            return Err(self.refused(Some(MUTEX_SIZE), "nothing behind the mutex area", libc::EIO));
        }
        if header.hash_size > HASH_SIZE_MAX
            || heads_end > size
            || heads_end + 4 > u64::from(u32::MAX)
        {
            return Err(self.refused(
                Some(HASH_SIZE),
                "file is too short for its hash chains",
                libc::EINVAL,
            ));
        }
        Ok(())
    }

    /// Writes an empty database (tdb §5.3).
    fn create(&self) -> Result<(), TdbError> {
        let hash_size = hash_size(&self.path, self.options)?;
        let mutex_size = if self.flags.contains(TdbFlags::MUTEX_LOCKING) {
            let size = mutex_area_size(hash_size)
                .ok_or_else(|| self.refused(None, "too many hash chains", libc::EINVAL))?;
            Some(size)
        } else {
            None
        };
        let header = Header::new(hash_size, self.flags, mutex_size);
        let bytes = header.to_bytes();
        let io = |call| move |error: io::Error| TdbError::sys(&self.path, call, &error);
        self.file.set_len(0).map_err(io("ftruncate"))?;
        self.file.write_all_at(&bytes, 0).map_err(io("pwrite"))?;
        let Some(mutex_size) = mutex_size else { return Ok(()) };
        let mutex_size = u64::from(mutex_size);
        self.file.set_len(mutex_size + HEADER_SIZE_BYTES as u64).map_err(io("ftruncate"))?;
        let mutexes = MutexArea::map(&self.file, hash_size).map_err(io("mmap"))?;
        mutexes.initialise().map_err(|errno| self.sys("pthread_mutex_init", errno))?;
        self.file.write_all_at(&bytes, mutex_size).map_err(io("pwrite"))
    }

    fn read_header(&self) -> Result<Header, HeaderFault> {
        let mut bytes = [0; HEADER_SIZE_BYTES];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Header::parse(&bytes, self.flags),
            Err(_) => Err(HeaderFault::NotTdb),
        }
    }

    fn map_mutexes(&self, header: &Header) -> Result<MutexArea, TdbError> {
        MutexArea::map(&self.file, header.hash_size)
            .map_err(|error| TdbError::sys(&self.path, "mmap", &error))
    }

    /// Refuses a second mapping of one file's mutexes in this process (P8). OPEN is held, so no
    /// other thread opens the file between this test and `register`.
    fn check_alone_in_process(&self) -> Result<(), TdbError> {
        let own = self.identity()?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|(_, other)| other.strong_count() > 0);
        if opened.iter().any(|(other, _)| *other == own) {
            return Err(self.refused(
                None,
                "already open in this process; use a sibling",
                libc::EBUSY,
            ));
        }
        Ok(())
    }

    fn register(&self, shared: &Arc<Shared>) -> Result<(), TdbError> {
        let own = self.identity()?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push((own, Arc::downgrade(shared)));
        Ok(())
    }

    fn identity(&self) -> Result<Identity, TdbError> {
        identity(&self.file).map_err(|error| TdbError::sys(&self.path, "fstat", &error))
    }

    fn lock(
        &self,
        range: range_lock::Range,
        kind: LockKind,
        wait: Wait,
    ) -> Result<Attempt, TdbError> {
        if self.lockless() {
            // "Locked" by a handle without locks says nothing about being alone.
            return Ok(if wait == Wait::Try { Attempt::Busy } else { Attempt::Locked });
        }
        range_lock::lock(&self.file, range, kind, wait)
            .map_err(|error| TdbError::sys(&self.path, "fcntl", &error))
    }

    fn unlock(&self, range: range_lock::Range) -> Result<(), TdbError> {
        if self.lockless() {
            return Ok(());
        }
        range_lock::unlock(&self.file, range)
            .map_err(|error| TdbError::sys(&self.path, "fcntl", &error))
    }

    fn lockless(&self) -> bool {
        self.flags.contains(TdbFlags::NOLOCK)
    }

    fn refused(&self, offset: Option<u32>, rule: &'static str, errno: i32) -> TdbError {
        TdbError::Refused { path: self.path.clone(), offset, rule, errno }
    }

    fn sys(&self, call: &'static str, errno: i32) -> TdbError {
        TdbError::Sys { path: self.path.clone(), call, errno }
    }
}

fn effective_flags(path: &Arc<Path>, options: &OpenOptions) -> Result<TdbFlags, TdbError> {
    let mut flags = options.flags;
    let invalid = |rule| TdbError::Invalid { path: path.clone(), rule };
    if flags.contains(TdbFlags::ALLOW_NESTING | TdbFlags::DISALLOW_NESTING) {
        return Err(invalid("nesting is both allowed and disallowed"));
    }
    if !flags.contains(TdbFlags::DISALLOW_NESTING) {
        flags |= TdbFlags::ALLOW_NESTING;
    }
    if options.read_only {
        flags |= TdbFlags::NOLOCK;
        flags -= TdbFlags::CLEAR_IF_FIRST | TdbFlags::MUTEX_LOCKING;
    }
    if flags.contains(TdbFlags::MUTEX_LOCKING) {
        if flags.intersects(TdbFlags::INTERNAL | TdbFlags::NOMMAP) {
            return Err(invalid("mutexes need a mapped file"));
        }
        flags |= TdbFlags::INCOMPATIBLE_HASH;
    }
    if flags.contains(TdbFlags::NOLOCK | TdbFlags::CLEAR_IF_FIRST) {
        return Err(invalid("without locks nobody knows who is first"));
    }
    if flags.contains(TdbFlags::INTERNAL) {
        flags |= TdbFlags::NOLOCK | TdbFlags::NOMMAP;
        flags -= TdbFlags::CLEAR_IF_FIRST;
    }
    if std::env::var_os("TDB_NO_FSYNC").is_some() {
        flags |= TdbFlags::NOSYNC;
    }
    Ok(flags)
}

fn in_memory(path: Arc<Path>, options: &OpenOptions, flags: TdbFlags) -> Result<Tdb, TdbError> {
    let header = Header::new(hash_size(&path, options)?, flags, None);
    let area = Area::memory(path.clone(), header.to_bytes());
    Ok(Tdb {
        path,
        file: None,
        shared: Arc::new(Shared { _anchor: None, mutexes: None }),
        area,
        flags,
        hash: header.hash,
        swapped: header.swapped,
        hash_size: header.hash_size,
        max_dead: max_dead(options),
        read_only: false,
        locks: LockTable::default(),
        transaction: None,
        position: Position::default(),
        scratch: Vec::new(),
        free_trail: FreeTrail::default(),
    })
}

fn hash_size(path: &Arc<Path>, options: &OpenOptions) -> Result<u32, TdbError> {
    let hash_size = if options.hash_size == 0 { HASH_SIZE_DEFAULT } else { options.hash_size };
    if hash_size > HASH_SIZE_CREATED_MAX {
        return Err(TdbError::Invalid { path: path.clone(), rule: "too many hash chains" });
    }
    Ok(hash_size)
}

fn max_dead(options: &OpenOptions) -> u32 {
    if options.max_dead == 0 && options.flags.contains(TdbFlags::VOLATILE) {
        5
    } else {
        options.max_dead
    }
}

fn identity(file: &File) -> io::Result<Identity> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Every file with mutexes that this process has open.
static OPENED: StdMutex<Vec<(Identity, Weak<Shared>)>> = StdMutex::new(Vec::new());
/// More chains than this would take a quarter of the address space of a TDB file.
const HASH_SIZE_CREATED_MAX: u32 = 1 << 28;
const _: () = assert!(data_start(HASH_SIZE_CREATED_MAX) < u32::MAX / 2);

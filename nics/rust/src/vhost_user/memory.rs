//! Guest memory: the regions a front-end shared, and the only way from an address a guest gives to
//! bytes we touch.
//!
//! Every translation takes an address *and a length*, and answers with a pointer only if all of it
//! lies in one region. What a pointer was made from is kept alive by whoever keeps the pointer (an
//! `Arc<Memory>`), so it can't be unmapped under a ring that runs.

use super::mapping::{Mapping, Unmapping};
use super::protocol::RegionSpec;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// Regions that one device may have.
pub const SLOTS_MAX: usize = 256;
/// Memory that one device may have mapped: as much as the largest machines have. (All together: `mapping.rs`.)
pub const BYTES_MAX: u64 = 1 << 40;

/// One region.
#[derive(Clone, Debug)]
pub struct Region {
    pub gpa: u64,
    pub size: u64,
    pub uva: u64,
    /// The first byte, where we see it.
    host: *mut u8,
    mapping: Arc<Mapping>,
}

// SAFETY: as for Mapping, which it keeps alive.
unsafe impl Send for Region {}
// SAFETY: as for Mapping.
unsafe impl Sync for Region {}

impl Region {
    /// Map what a front-end told us, for as long as it is used and until it has been unmapped by `unmapping`.
    pub fn map(spec: &RegionSpec, fd: &impl AsRawFd, unmapping: &Unmapping) -> Result<Region, MemoryError> {
        let fd = fd.as_raw_fd();
        let RegionSpec { gpa, size, uva, offset } = *spec;
        if size == 0 || gpa.checked_add(size).is_none() || uva.checked_add(size).is_none() {
            return Err(MemoryError::Range);
        }
        let end = offset.checked_add(size).filter(|end| *end <= BYTES_MAX).ok_or(MemoryError::Range)?;
        let (file_size, page) = shared_memory(fd)?;
        if end > file_size {
            return Err(MemoryError::BeyondFile);
        }
        // Huge page files are mapped in whole huge pages.
        let from = offset / page * page;
        let len = end.next_multiple_of(page) - from;
        let mapping = Mapping::new(fd, from as usize, len as usize, page as usize, unmapping)
            .map_err(MemoryError::Map)?;
        // SAFETY: offset - from is less than len, so this stays inside the mapping.
        let host = unsafe { mapping.address().add((offset - from) as usize) };
        Ok(Region { gpa, size, uva, host, mapping: Arc::new(mapping) })
    }

    /// The first byte.
    #[must_use]
    pub fn host(&self) -> *mut u8 {
        self.host
    }

    /// Whether it was taken away under us.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.mapping.struck()
    }

    fn overlaps(&self, other: &Region) -> bool {
        let cross = |a: u64, b: u64| a < b + other.size && b < a + self.size;
        cross(self.gpa, other.gpa) || cross(self.uva, other.uva)
    }
}

/// Check that `fd` is memory and not a file whose reads may wait (FUSE, NFS, a disk): its size and
/// page size.
fn shared_memory(fd: RawFd) -> Result<(u64, u64), MemoryError> {
    const HUGETLBFS: i64 = 0x958458f6;
    // First: of another file, its size may be asked of a daemon that never answers.
    if !is_memory(fd) {
        return Err(MemoryError::NotMemory);
    }
    // SAFETY: plain data, for which zeros are a valid value.
    let (mut fs, mut stat): (libc::statfs, libc::stat) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: both structs live through the calls that fill them.
    let failed = unsafe { libc::fstatfs(fd, &raw mut fs) != 0 || libc::fstat(fd, &raw mut stat) != 0 };
    if failed {
        return Err(MemoryError::Map(io::Error::last_os_error()));
    }
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(MemoryError::NotMemory);
    }
    let page = if fs.f_type == HUGETLBFS { (fs.f_bsize as u64).max(4096) } else { 4096 };
    Ok((stat.st_size as u64, page))
}

/// Whether `fd` is memory (memfd, tmpfs, hugetlbfs): only those have seals, and to ask for them is to ask no file system.
fn is_memory(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GET_SEALS) >= 0 }
}

/// Why memory was refused.
#[derive(Debug)]
pub enum MemoryError {
    Range,
    BeyondFile,
    NotMemory,
    Overlap,
    TooMuch,
    Map(io::Error),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryError::Range => write!(f, "a memory region of impossible size or address"),
            MemoryError::BeyondFile => write!(f, "a memory region beyond the end of its file"),
            MemoryError::NotMemory => {
                write!(f, "a memory region that is no shared memory (memfd, tmpfs or hugetlbfs)")
            }
            MemoryError::Overlap => write!(f, "memory regions that overlap"),
            MemoryError::TooMuch => write!(f, "more memory regions or bytes than a device may have"),
            MemoryError::Map(e) => write!(f, "a memory region that can't be mapped: {e}"),
        }
    }
}

/// All of a guest's memory that it shares with us. Never changes: another table is another value.
#[derive(Debug, Default)]
pub struct Memory {
    /// Ascending by guest address.
    regions: Vec<Region>,
}

impl Memory {
    pub fn new(mut regions: Vec<Region>) -> Result<Memory, MemoryError> {
        regions.sort_by_key(|region| region.gpa);
        Memory::fits(regions.iter().map(|region| region.size))?;
        for (i, region) in regions.iter().enumerate() {
            if regions[..i].iter().any(|other| region.overlaps(other)) {
                return Err(MemoryError::Overlap);
            }
        }
        Ok(Memory { regions })
    }

    /// Whether a device may have regions of these sizes.
    pub fn fits(sizes: impl ExactSizeIterator<Item = u64>) -> Result<(), MemoryError> {
        let count = sizes.len();
        let bytes = sizes.fold(0, u64::saturating_add);
        if count > SLOTS_MAX || bytes > BYTES_MAX { Err(MemoryError::TooMuch) } else { Ok(()) }
    }

    /// With one region more. One that is told again takes its own place: QEMU (7.2 to 8.1 at least)
    /// tells every region once for each queue pair.
    pub fn with(&self, region: Region) -> Result<Memory, MemoryError> {
        let mut regions = self.regions.clone();
        regions.retain(|other| {
            !(other.gpa == region.gpa && other.size == region.size && other.uva == region.uva)
        });
        regions.push(region);
        Memory::new(regions)
    }

    /// With one region less; None when it is not there.
    #[must_use]
    pub fn without(&self, spec: &RegionSpec) -> Option<Memory> {
        let mut regions = self.regions.clone();
        let same =
            |region: &Region| region.gpa == spec.gpa && region.size == spec.size && region.uva == spec.uva;
        let at = regions.iter().position(same)?;
        regions.remove(at);
        Some(Memory { regions })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Whether some of it was taken away under us.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.regions.iter().any(Region::struck)
    }

    /// The region that holds guest address `gpa`.
    fn at(&self, gpa: u64) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.gpa <= gpa);
        let region = self.regions.get(after.checked_sub(1)?)?;
        (gpa - region.gpa < region.size).then_some(region)
    }

    /// A view of the region that holds `gpa`, for a ring to keep.
    #[must_use]
    pub fn window(&self, gpa: u64) -> Window {
        self.at(gpa).map_or(Window::NONE, |r| Window { gpa: r.gpa, size: r.size, host: r.host })
    }

    /// Where `len` bytes at guest address `gpa` are, if all of them are in one region.
    #[must_use]
    pub fn translate(&self, gpa: u64, len: u64) -> Option<*mut u8> {
        let (host, room) = self.run(gpa)?;
        (len <= room).then_some(host)
    }

    /// Where guest address `gpa` is, and how many bytes follow it in its region.
    #[must_use]
    pub fn run(&self, gpa: u64) -> Option<(*mut u8, u64)> {
        let region = self.at(gpa)?;
        let offset = gpa - region.gpa;
        // SAFETY: offset < size, so the pointer stays inside the region's mapping.
        Some((unsafe { region.host.add(offset as usize) }, region.size - offset))
    }

    /// Where `len` bytes at the front-end's address `uva` are, if all of them are in one region.
    #[must_use]
    pub fn translate_uva(&self, uva: u64, len: u64) -> Option<*mut u8> {
        let region = self
            .regions
            .iter()
            .find(|region| uva.checked_sub(region.uva).is_some_and(|o| o < region.size))?;
        let offset = uva - region.uva;
        // SAFETY: offset < size, so the pointer stays inside the region's mapping.
        (len <= region.size - offset).then(|| unsafe { region.host.add(offset as usize) })
    }

    /// The guest address of a byte that was translated before.
    #[must_use]
    pub fn gpa_of(&self, host: *const u8) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = (host as u64).checked_sub(region.host as u64)?;
            (offset < region.size).then(|| region.gpa + offset)
        })
    }
}

/// The region a ring translated in last: one comparison for the next address, which is nearly
/// always in it too. Pointer and length are only ever used together.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    gpa: u64,
    size: u64,
    host: *mut u8,
}

impl Window {
    pub const NONE: Window = Window { gpa: 0, size: 0, host: std::ptr::null_mut() };

    /// As [`Memory::translate`], within this region alone.
    #[inline(always)]
    #[must_use]
    pub fn translate(&self, gpa: u64, len: u32) -> Option<*mut u8> {
        let offset = gpa.wrapping_sub(self.gpa);
        if offset < self.size && u64::from(len) <= self.size - offset {
            // SAFETY: offset < size, so the pointer stays inside the region's mapping, which the
            // ring's Arc<Memory> keeps.
            return Some(unsafe { self.host.add(offset as usize) });
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::{FromRawFd, OwnedFd};

    fn memfd(size: u64) -> OwnedFd {
        // SAFETY: the name is a C string; the result is checked by what follows.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) };
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), size as i64) }, 0);
        fd
    }

    fn map(spec: &RegionSpec, fd: &impl AsRawFd) -> Result<Region, MemoryError> {
        Region::map(spec, fd, &Unmapping::default())
    }

    fn spec(gpa: u64, size: u64, offset: u64) -> RegionSpec {
        RegionSpec { gpa, size, uva: gpa + 0x7f00_0000_0000, offset }
    }

    #[test]
    fn translation_stays_within_one_region() {
        let fd = memfd(0x4000);
        let regions = [spec(0x1000, 0x1000, 0), spec(0x2000, 0x2000, 0x2000)].map(|s| map(&s, &fd).unwrap());
        let memory = Memory::new(regions.to_vec()).unwrap();
        assert!(memory.translate(0xfff, 1).is_none());
        assert!(memory.translate(0x1000, 0x1000).is_some());
        assert!(memory.translate(0x1000, 0x1001).is_none());
        assert!(memory.translate(0x1fff, 1).is_some());
        assert!(memory.translate(0x1fff, 2).is_none(), "across two regions");
        assert!(memory.translate(0x3fff, 1).is_some());
        assert!(memory.translate(0x4000, 1).is_none());
        assert!(memory.translate(0x2000, u64::MAX).is_none());
        assert!(memory.translate(u64::MAX, 1).is_none());
        assert!(memory.translate_uva(0x7f00_0000_2000, 0x2000).is_some());
        assert!(memory.translate_uva(0x7f00_0000_2001, 0x2000).is_none());
        assert!(memory.translate_uva(0x2000, 1).is_none());
        let window = memory.window(0x2000);
        assert_eq!(window.translate(0x2fff, 2), memory.translate(0x2fff, 2));
        assert!(window.translate(0x1fff, 1).is_none());
        assert!(window.translate(0x3fff, 2).is_none());
        assert!(window.translate(0x2000, u32::MAX).is_none());
        assert!(Window::NONE.translate(0, 0).is_none());
        let host = memory.translate(0x1234, 4).unwrap();
        assert_eq!(memory.gpa_of(host), Some(0x1234));
    }

    #[test]
    fn impossible_regions_are_refused() {
        let fd = memfd(0x4000);
        for bad in [
            spec(0, 0, 0),
            spec(0x1000, 0x5000, 0),
            spec(0x1000, 0x1000, 0x3001),
            spec(0x1000, 0x1000, u64::MAX - 0xfff),
            RegionSpec { gpa: u64::MAX - 10, size: 0x1000, uva: 0, offset: 0 },
            RegionSpec { gpa: 0, size: 0x1000, uva: u64::MAX - 10, offset: 0 },
        ] {
            assert!(map(&bad, &fd).is_err(), "{bad:?}");
        }
        let one = map(&spec(0x1000, 0x1000, 0), &fd).unwrap();
        let two = map(&spec(0x1800, 0x1000, 0), &fd).unwrap();
        assert!(matches!(Memory::new(vec![one.clone(), two]), Err(MemoryError::Overlap)));
        let memory = Memory::new(vec![one]).unwrap();
        assert!(memory.without(&spec(0x1000, 0x800, 0)).is_none());
        assert!(memory.without(&spec(0x1000, 0x1000, 0)).unwrap().is_empty());
    }

    #[test]
    fn only_memory_is_mapped() {
        let (pipe, _other) = std::io::pipe().unwrap();
        assert!(matches!(map(&spec(0, 4096, 0), &OwnedFd::from(pipe)), Err(MemoryError::NotMemory)));
        let null = std::fs::File::open("/dev/zero").unwrap();
        assert!(map(&spec(0, 4096, 0), &OwnedFd::from(null)).is_err());
        // Files of a tmpfs are, as DPDK makes them.
        let path = std::path::PathBuf::from(format!("/dev/shm/vnet-memory-{}", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(0x1000).unwrap();
        assert!(map(&spec(0, 0x1000, 0), &file).is_ok());
        let disk = std::fs::File::open("/proc/version").unwrap();
        assert!(matches!(map(&spec(0, 4096, 0), &disk), Err(MemoryError::NotMemory)));
    }

    #[test]
    fn a_handler_of_somebody_else_does_not_stay_in_front() {
        extern "C" fn theirs(_: libc::c_int) {}
        let fd = memfd(0x1000);
        drop(map(&spec(0, 0x1000, 0), &fd).unwrap());
        // SAFETY: a handler that does nothing, and a question.
        let ours = unsafe { libc::signal(libc::SIGBUS, theirs as *const () as usize) };
        drop(map(&spec(0, 0x1000, 0), &fd).unwrap());
        // SAFETY: plain data; the call fills it in.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks; the struct lives through the call.
        unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut now) };
        assert_eq!(now.sa_sigaction, ours);
    }

    #[test]
    fn memory_that_is_cut_off_reads_as_zeros_and_is_marked() {
        let fd = memfd(0x4000);
        let memory = Memory::new(vec![map(&spec(0, 0x4000, 0), &fd).unwrap()]).unwrap();
        let host = memory.translate(0x3000, 8).unwrap();
        // SAFETY: translated above; nobody else writes there in this test.
        unsafe { host.write_volatile(7) };
        assert!(!memory.struck());
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 0) }, 0);
        let before = super::super::fault::strikes();
        // SAFETY: translated above and still mapped; the pages behind it are gone, which is the test.
        assert_eq!(unsafe { host.read_volatile() }, 0);
        assert!(memory.struck());
        assert!(super::super::fault::strikes() > before);
        // SAFETY: as above.
        unsafe { host.write_volatile(7) };
    }
}

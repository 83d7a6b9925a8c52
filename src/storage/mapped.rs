//! Read-only mappings that survive the truncation of their file.
//!
//! A byte that is mapped and no longer in the file raises `SIGBUS`, which by default ends the
//! process. Here the first mapping installs a handler: a fault inside a [`Mapped`] window maps zeros
//! from the faulting page to the end of the window, marks the window and lets the reader go on; a
//! fault anywhere else ends the process as before.
//!
//! What was read from a window is believed only if [`Mapped::is_intact`] says so *afterwards*. It
//! knows of faults alone: bytes cut off within the last page that is left read as zeros without
//! one, so who must know asks for the file's length too.

mod windows;

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use memmap2::{Mmap, MmapOptions};

pub use memmap2::Advice;

use self::windows::{Ticket, Windows};

/// Windows that may be open at once in one process; the next one is refused, and its caller reads.
pub const MAX_WINDOWS: usize = 1024;

static WINDOWS: Windows<MAX_WINDOWS> = Windows::new();
/// Bytes of a page, for the handler, which may not ask.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// A read-only window into a file.
#[derive(Debug)]
pub struct Mapped {
    /// None for a window of no bytes, which cannot be mapped.
    window: Option<(Mmap, Ticket)>,
}

impl Mapped {
    /// Maps `offset..offset + len`, which need not begin or end at a page. An error, also when too
    /// many windows are open or the file cannot be mapped, means: read instead.
    pub fn new(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        let end = offset.checked_add(len as u64);
        let file_len = file.metadata()?.len();
        if end.is_none_or(|end| end > file_len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(Self { window: None });
        }
        install_handler()?;
        #[expect(unsafe_code, reason = "mapping a file")]
        // SAFETY: the range was in the file a moment ago, and if it is cut off the handler puts
        // zeros in its place, so every byte stays readable as long as the mapping lives. Bytes that
        // others change in place are seen to change; nothing but the bytes' meaning rests on them,
        // and callers check what they decode.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
        let page = PAGE.load(Ordering::Relaxed);
        let (start, end) = (map.as_ptr() as usize, map.as_ptr() as usize + len);
        let ticket = WINDOWS.claim(start - start % page, end.next_multiple_of(page));
        let ticket = ticket.ok_or_else(|| io::Error::other("too many files are mapped"))?;
        Ok(Self { window: Some((map, ticket)) })
    }

    /// Whether all that was read from the window until now came from the file.
    pub fn is_intact(&self) -> bool {
        // What was read before this call is read before the mark is.
        fence(Ordering::SeqCst);
        self.window.as_ref().is_none_or(|(_, ticket)| !WINDOWS.is_marked(*ticket))
    }

    /// Takes the pages out of the process's memory until they are read again; for who has read a
    /// large window once and is going to need little of it.
    pub fn forget_pages(&self) -> io::Result<()> {
        let Some((map, _)) = &self.window else { return Ok(()) };
        #[expect(unsafe_code, reason = "an advice that could lose data of other mappings")]
        // SAFETY: the mapping is read-only, so there is nothing to lose: pages of the file come back
        // from the file, and the zeros in the place of missing ones come back as zeros.
        unsafe {
            map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        }
    }

    /// Tells the kernel how the window will be read.
    pub fn advise(&self, advice: Advice) -> io::Result<()> {
        self.window.as_ref().map_or(Ok(()), |(map, _)| map.advise(advice))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.window.as_ref().map_or(&[], |(map, _)| map)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Some((map, ticket)) = self.window.take() {
            WINDOWS.release(ticket);
            drop(map);
        }
    }
}

/// Installs the handler, once in the life of the process.
fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let install = || {
        PAGE.store(rustix::param::page_size(), Ordering::Relaxed);
        #[expect(unsafe_code, reason = "installing a signal handler")]
        // SAFETY: `action` is a plain structure for which all zeros are valid; the handler has the
        // signature that SA_SIGINFO asks for and calls only what a handler may call. SA_ONSTACK
        // takes the thread's alternate stack where it has one.
        let answer = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
        };
        if answer == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error().raw_os_error().unwrap_or_default())
        }
    };
    INSTALLED.get_or_init(install).map_err(io::Error::from_raw_os_error)
}

#[expect(unsafe_code, reason = "a signal handler")]
extern "C" fn on_bus_error(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `info`, whose address is meant when the kernel itself
    // raised the signal (a positive code). Only async-signal-safe functions are called, no lock is
    // taken and nothing allocated; `errno` is left as it was found.
    unsafe {
        let errno = *libc::__errno_location();
        let is_fault = (*info).si_code > 0;
        if !(is_fault && mend((*info).si_addr() as usize)) {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            if !is_fault {
                // Sent by a process: it is not raised again by returning.
                libc::raise(libc::SIGBUS);
            }
        }
        *libc::__errno_location() = errno;
    }
}

/// Puts zeros in the place of what is missing at `address` and behind it in its window, which is
/// marked before a zero can be seen.
fn mend(address: usize) -> bool {
    let Some(end) = WINDOWS.mark(address) else { return false };
    let start = address - address % PAGE.load(Ordering::Relaxed);
    #[expect(unsafe_code, reason = "replacing pages of a mapping")]
    // SAFETY: `start..end` lies within one window: its bounds are those of whole pages. The window
    // is mapped as long as it is in the table, and the faulting thread holds it.
    let mapped = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            end - start,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// The table is the process's: the test that fills it keeps the others out.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_of(len: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file
    }

    #[test]
    fn a_window_shows_the_bytes_of_any_range() {
        let _alone = alone();
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..50_000u32).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        for (offset, len) in [(0, 50_000), (1, 1), (4095, 2), (8192, 4096), (49_999, 1), (77, 0)] {
            let map = Mapped::new(&file, offset as u64, len).unwrap();
            map.advise(Advice::Sequential).unwrap();
            assert_eq!(&*map, &bytes[offset..offset + len]);
            map.forget_pages().unwrap();
            assert_eq!(&*map, &bytes[offset..offset + len]);
            assert!(map.is_intact());
        }
        for (offset, len) in [(0, 50_001), (50_000, 1), (u64::MAX, 2)] {
            assert!(Mapped::new(&file, offset, len).is_err());
        }
        assert!(Mapped::new(&File::open("/").unwrap(), 0, 1).is_err(), "a directory");
    }

    #[test]
    fn truncation_under_readers_marks_the_window_and_kills_nobody() {
        const LEN: usize = 4 << 20;
        let _alone = alone();
        let (file, other) = (file_of(LEN), file_of(LEN));
        let kept = Mapped::new(&other, 0, LEN).unwrap();
        for left in [0, 5000, LEN / 2] {
            file.set_len(0).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![7; LEN], 0).unwrap();
            let map = Mapped::new(&file, 100, LEN - 100).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let readers_see_zeros = || while !std::hint::black_box(&*map).contains(&0) {};
                    scope.spawn(readers_see_zeros);
                }
                file.set_len(left as u64).unwrap();
            });
            // The readers may have met zeros in the last page that is left, which fault nobody.
            assert_eq!(map.last(), Some(&0));
            assert!(!map.is_intact());
            map.forget_pages().unwrap();
            assert_eq!(map.last(), Some(&0));
            assert!(!map.is_intact());
            assert!(kept.iter().all(|byte| *byte == 7) && kept.is_intact());
        }
    }

    #[test]
    fn windows_come_and_go_while_others_fault() {
        let _alone = alone();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..300usize {
                        let file = file_of(3 * 4096);
                        let map = Mapped::new(&file, 0, 3 * 4096).unwrap();
                        let cut = round % 2 == 0;
                        if cut {
                            file.set_len(4096).unwrap();
                        }
                        assert_eq!(map.contains(&0), cut);
                        assert_eq!(map.is_intact(), !cut);
                    }
                });
            }
        });
    }

    #[test]
    fn a_full_table_refuses_and_recovers() {
        let _alone = alone();
        let file = file_of(4096);
        let maps: Vec<_> = (0..MAX_WINDOWS + 8).map(|_| Mapped::new(&file, 0, 4096)).collect();
        assert!(maps.iter().filter(|map| map.is_err()).count() >= 8);
        drop(maps);
        assert!(Mapped::new(&file, 0, 4096).is_ok());
    }

    /// Runs one of the ignored tests below in a process of its own.
    fn run_child(test: &str) -> std::process::ExitStatus {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", &format!("storage::mapped::tests::{test}")]);
        command.output().unwrap().status
    }

    #[test]
    fn other_bus_errors_still_kill() {
        for test in ["child_faults_outside_of_every_window", "child_is_sent_the_signal"] {
            assert_eq!(run_child(test).signal(), Some(libc::SIGBUS), "{test}");
        }
        assert!(run_child("child_faults_within_a_window").success());
    }

    #[test]
    #[ignore = "ends the process; run by another test"]
    fn child_faults_outside_of_every_window() {
        let (guarded, bare) = (file_of(4096), file_of(8192));
        let _installed = Mapped::new(&guarded, 0, 4096).unwrap();
        #[expect(unsafe_code, reason = "the test wants the fault")]
        // SAFETY: the fault that follows ends this process, which is what the test is about.
        let map = unsafe { Mmap::map(&bare).unwrap() };
        bare.set_len(0).unwrap();
        assert_eq!(std::hint::black_box(&*map)[5000], 0);
    }

    #[test]
    #[ignore = "ends the process; run by another test"]
    fn child_is_sent_the_signal() {
        let file = file_of(4096);
        let _installed = Mapped::new(&file, 0, 4096).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS)
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(10));
    }

    #[test]
    #[ignore = "run by another test"]
    fn child_faults_within_a_window() {
        let file = file_of(8192);
        let map = Mapped::new(&file, 0, 8192).unwrap();
        file.set_len(0).unwrap();
        assert_eq!(map[5000], 0);
        assert!(!map.is_intact());
    }
}

//! Standard output that fails once and for all.
//!
//! What could not be written must not come later: a buffer is flushed again when it is dropped, and
//! a report that followed the error of its command would say that the command had ended well.

use std::io::{self, Write};

use rustix::io::Errno;

/// The process's standard output, unbuffered. After an error nothing more is written to it.
#[derive(Debug, Default)]
pub(super) struct Stdout {
    broken: Option<Errno>,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(errno) = self.broken {
            return Err(errno.into());
        }
        rustix::io::write(rustix::stdio::stdout(), bytes).map_err(|errno| {
            // Who was only interrupted writes again.
            if errno != Errno::INTR {
                self.broken = Some(errno);
            }
            errno.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |errno| Err(errno.into()))
    }
}

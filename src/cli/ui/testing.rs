//! A [`Ui`] whose streams a test can read.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::{Output, Ui, UiOptions};

/// A buffer that many hands write to.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A [`Ui`] and what it wrote. Neither stream is a terminal.
pub(crate) struct Captured {
    pub(crate) ui: Ui,
    out: Buffer,
    err: Buffer,
}

impl Captured {
    pub(crate) fn new(options: &UiOptions) -> Self {
        let (out, err) = (Buffer::default(), Buffer::default());
        let outputs = (Output::new(out.clone(), false), Output::new(err.clone(), false));
        let ui = Ui::with_outputs(options.clone(), &|_| None, outputs.0, outputs.1);
        Self { ui, out, err }
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.out.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.err.0.lock().unwrap().clone()).unwrap()
    }
}

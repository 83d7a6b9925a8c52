//! The one place that writes to the terminal.
//!
//! Data goes to stdout, messages and progress to stderr. Stdout is buffered: a command ends with
//! [`Ui::flush`]. Stdout that cannot be written is an [`io::Error`] holding an [`OutputError`]; that
//! nobody reads it any more ends the command without a word. Stderr that nobody reads is ignored.

pub mod format;
pub(crate) mod graph;
mod monitor;
mod pager;
mod stdout;
mod style;
mod views;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use serde::Serialize;
use thiserror::Error;

use self::pager::Pager;
use self::stdout::Stdout;
pub use monitor::{LiveMonitor, Report};
pub use style::{Style, use_color};
pub use views::{JsonView, PlainView, TerminalView, View};

use crate::config::{ProgressMode, When};
use crate::progress::{Monitor, NullMonitor};

/// Why stdout is not written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// Nobody reads it any more.
    #[error("the output was closed")]
    Closed,
    /// The system refused it.
    #[error("cannot write the output")]
    Failed(#[source] io::Error),
}

/// What the global flags say.
#[derive(Debug, Clone, Default)]
pub struct UiOptions {
    /// When colours are used.
    pub color: When,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Only data, warnings and errors.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Everything as JSON.
    pub json: bool,
    /// No pager, even on a terminal.
    pub no_pager: bool,
    /// The pager of the user's settings.
    pub pager: Option<String>,
}

/// Where a stream goes.
pub struct Output {
    writer: Box<dyn Write + Send>,
    terminal: bool,
}

impl Output {
    /// A stream; `terminal` if a person reads it.
    pub fn new(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        Self { writer: Box::new(writer), terminal }
    }
}

/// One stream that many threads write to.
struct Stream {
    writer: Mutex<Box<dyn Write + Send>>,
    terminal: bool,
    color: bool,
}

impl Stream {
    fn new(output: Output, color: When, environment: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let color = use_color(color, environment, output.terminal);
        Self { writer: Mutex::new(output.writer), terminal: output.terminal, color }
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stderr and the progress bars that live on it.
pub struct Console {
    stream: Stream,
    bars: MultiProgress,
    drawing: AtomicBool,
}

impl Console {
    /// Runs `write` while no bar is in its way.
    fn around_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.drawing.load(Relaxed) { self.bars.suspend(write) } else { write() }
    }

    /// Writes one line; errors are ignored because there is nowhere left to tell them.
    fn line(&self, text: &str) {
        self.around_bars(|| {
            let mut writer = self.stream.lock();
            let _ = writeln!(writer, "{text}").and_then(|()| writer.flush());
        });
    }

    /// Writes one JSON document as a line.
    fn json(&self, document: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(document) {
            self.line(&text);
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        style.paint(text, self.stream.color)
    }

    /// Writes `label: text` with the text made harmless.
    fn labelled(&self, style: Style, label: &str, text: &str) {
        let label = self.paint(style, &format!("{label}:"));
        self.line(&format!("{label} {}", format::printable(text)));
    }
}

/// A warning as JSON.
#[derive(Serialize)]
struct Warning<'a> {
    message_type: &'static str,
    level: &'static str,
    message: &'a str,
}

impl<'a> Warning<'a> {
    fn new(message: &'a str) -> Self {
        Self { message_type: "error", level: "warning", message }
    }
}

/// Everything that a command says.
pub struct Ui {
    out: Stream,
    err: Arc<Console>,
    options: UiOptions,
    started: Instant,
    pager: Mutex<Option<Pager>>,
}

/// Size of the buffer before stdout.
const OUT_BUFFER: usize = 64 << 10;

impl Ui {
    /// The streams of the process.
    pub fn new(options: UiOptions, environment: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let err = io::stderr();
        let out_terminal = io::stdout().is_terminal();
        let err_terminal = err.is_terminal();
        let out = BufWriter::with_capacity(OUT_BUFFER, Stdout::default());
        let out = Output::new(out, out_terminal);
        Self::with_outputs(options, environment, out, Output::new(err, err_terminal))
    }

    /// Streams of the caller's choice.
    pub fn with_outputs(
        options: UiOptions,
        environment: &dyn Fn(&str) -> Option<OsString>,
        out: Output,
        err: Output,
    ) -> Self {
        let err = Console {
            stream: Stream::new(err, options.color, environment),
            bars: MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(
                views::BAR_RATE,
            )),
            drawing: AtomicBool::new(false),
        };
        let out = Stream::new(out, options.color, environment);
        let (started, pager) = (Instant::now(), Mutex::default());
        Self { out, err: Arc::new(err), options, started, pager }
    }

    /// Whether everything is said as JSON.
    pub fn is_json(&self) -> bool {
        self.options.json
    }

    /// Whether only data, warnings and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.options.quiet
    }

    /// How often `-v` was given.
    pub fn verbosity(&self) -> u8 {
        self.options.verbose
    }

    /// Whether a person reads stdout.
    pub fn out_is_terminal(&self) -> bool {
        self.out.terminal
    }

    /// Whether a person reads stderr.
    pub fn err_is_terminal(&self) -> bool {
        self.err.stream.terminal
    }

    /// Time since the command was entered.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// `text` in a style of stdout, where colours are used there.
    pub fn paint(&self, style: Style, text: &str) -> String {
        style.paint(text, self.out.color)
    }

    /// As [`Self::paint`], for bytes that need not be text.
    pub fn paint_bytes(&self, style: Style, text: &[u8]) -> Vec<u8> {
        let painted = style.paint("\0", self.out.color);
        let (before, after) = painted.split_once('\0').unwrap_or_default();
        [before.as_bytes(), text, after.as_bytes()].concat()
    }

    /// Stdout for raw data, locked until dropped.
    pub fn out(&self) -> Out<'_> {
        Out { writer: self.out.lock() }
    }

    /// One line on stdout. Names in it are escaped by [`crate::path::escape`] before.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        self.err.around_bars(|| {
            let mut out = self.out();
            writeln!(out, "{text}")?;
            if self.out.terminal && !self.is_paged() { out.flush() } else { Ok(()) }
        })
    }

    /// The one JSON document of a short query, on stdout.
    pub fn document(&self, document: &impl Serialize) -> io::Result<()> {
        self.line(serde_json::to_string_pretty(document)?)
    }

    /// One of the JSON lines of a long command, on stdout, at once.
    pub fn json_line(&self, document: &impl Serialize) -> io::Result<()> {
        self.line(serde_json::to_string(document)?)?;
        self.flush()
    }

    fn is_paged(&self) -> bool {
        self.pager.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Shows what is written from here on through the user's pager, if a person reads it.
    pub fn page(&self) {
        let UiOptions { no_pager, json, quiet, pager, .. } = &self.options;
        if !self.out.terminal || *no_pager || *json || *quiet {
            return;
        }
        let environment = |name: &str| std::env::var_os(name);
        let Some(command) = pager::command(&environment, pager.as_deref()) else { return };
        match Pager::start(&command) {
            Ok(started) => {
                *self.pager.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
            }
            Err(error) => self.warn(format!(
                "cannot start the pager '{command}': {error}; set DIGSTORE_PAGER, or use --no-pager"
            )),
        }
    }

    /// Waits until the user has read what the pager shows.
    pub fn end_paging(&self) {
        let pager = self.pager.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pager) = pager {
            // The pager may have ended before, and nobody waits for the rest.
            let _ = self.flush();
            pager.finish();
        }
    }

    /// Writes out all that is buffered; every command ends with it.
    pub fn flush(&self) -> io::Result<()> {
        self.out().flush()
    }

    /// A message on stderr, unless quiet or JSON.
    pub fn message(&self, text: impl Display) {
        if !self.options.quiet && !self.options.json {
            self.err.line(&format::printable(&text.to_string()));
        }
    }

    /// A message on stderr for `-v` (`level` 1), `-vv` (2).
    pub fn detail(&self, level: u8, text: impl Display) {
        if self.options.verbose >= level {
            self.message(text);
        }
    }

    /// A warning on stderr, also when quiet.
    pub fn warn(&self, text: impl Display) {
        let text = text.to_string();
        if self.options.json {
            self.err.json(&Warning::new(&text));
        } else {
            self.err.labelled(Style::Caution, "warning", &text);
        }
    }

    /// `label: text` on stderr, also when quiet.
    pub fn labelled(&self, style: Style, label: &str, text: &str) {
        self.err.labelled(style, label, text);
    }

    /// One JSON line on stderr.
    pub fn json_diagnostic(&self, document: &impl Serialize) {
        self.err.json(document);
    }

    /// The monitor that the flags ask for; progress goes to stderr.
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        match self.view() {
            Some(view) => Arc::new(LiveMonitor::new(view)),
            // Without progress the warnings still count.
            None => Arc::new(WarningMonitor { silent: NullMonitor::default(), ui: self.voice() }),
        }
    }

    fn voice(&self) -> Voice {
        Voice { console: Arc::clone(&self.err), json: self.options.json }
    }

    fn view(&self) -> Option<Box<dyn View>> {
        let UiOptions { progress, quiet, json, verbose, .. } = self.options;
        let eager = verbose > 0 || progress == ProgressMode::Always;
        match progress {
            ProgressMode::Never => return None,
            ProgressMode::Auto if quiet => return None,
            _ => {}
        }
        Some(if json || progress == ProgressMode::Json {
            Box::new(JsonView::new(self.voice()))
        } else if self.err.stream.terminal {
            Box::new(TerminalView::new(self.voice(), eager))
        } else {
            Box::new(PlainView::new(self.voice(), eager))
        })
    }
}

/// The stderr that a monitor speaks on.
#[derive(Clone)]
pub struct Voice {
    console: Arc<Console>,
    json: bool,
}

impl Voice {
    fn warn(&self, message: &str) {
        if self.json {
            self.console.json(&Warning::new(message));
        } else {
            self.console.labelled(Style::Caution, "warning", message);
        }
    }
}

/// Shows warnings and no progress.
struct WarningMonitor {
    silent: NullMonitor,
    ui: Voice,
}

impl Monitor for WarningMonitor {
    fn counters(&self) -> &crate::progress::Counters {
        self.silent.counters()
    }

    fn phase(&self, phase: crate::progress::Phase) {
        self.silent.phase(phase);
    }

    fn warn(&self, message: &str) {
        self.ui.warn(message);
    }
}

/// Stdout, locked.
pub struct Out<'a> {
    writer: MutexGuard<'a, Box<dyn Write + Send>>,
}

/// Tells stdout from everything else that may fail, and a closed one from every other.
fn of_output(error: io::Error) -> io::Error {
    let kind = error.kind();
    match kind {
        // For who writes.
        ErrorKind::Interrupted => error,
        ErrorKind::BrokenPipe => io::Error::new(kind, OutputError::Closed),
        _ => io::Error::new(kind, OutputError::Failed(error)),
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(of_output)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(of_output)
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

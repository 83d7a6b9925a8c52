//! Ways to show a [`Report`]: a bar on a terminal, plain lines, JSON lines.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::monitor::Report;
use super::{Style, Voice};
use crate::metrics::MetricsSnapshot;

/// Most often that a bar is drawn in a second.
pub(super) const BAR_RATE: u8 = 20;
/// A phase shows a bar when it lasts longer, so that short commands do not flicker.
const BAR_AFTER: Duration = Duration::from_millis(200);
/// A phase leaves a line on a terminal when it lasted longer.
const LINE_AFTER: Duration = Duration::from_millis(500);
/// A phase shows plain lines when it lasts longer.
const PLAIN_AFTER: Duration = Duration::from_secs(2);
/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Time between two JSON lines.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// A way to show an operation. `tick` comes about ten times a second.
pub trait View: Send {
    /// A phase begins.
    fn begin(&mut self, report: &Report);
    /// A phase goes on.
    fn tick(&mut self, report: &Report);
    /// A phase ends.
    fn end(&mut self, report: &Report);
    /// Something went wrong without ending the operation.
    fn warn(&mut self, message: &str);
}

/// Shows a bar that collapses to a line.
pub struct TerminalView {
    voice: Voice,
    eager: bool,
    bar: Option<ProgressBar>,
}

impl TerminalView {
    /// `eager` leaves a line for short phases too.
    pub fn new(voice: Voice, eager: bool) -> Self {
        Self { voice, eager, bar: None }
    }

    fn draw(&mut self, report: &Report) {
        if let Some(bar) = &self.bar {
            fill(bar, report);
            return;
        }
        // Filled before it is shown, so that no half-filled bar is ever drawn.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        fill(&bar, report);
        self.voice.console.drawing.store(true, Relaxed);
        let bar = self.voice.console.bars.add(bar);
        bar.tick();
        self.bar = Some(bar);
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.voice.console.bars.remove(&bar);
            self.voice.console.drawing.store(false, Relaxed);
        }
    }
}

/// Brings a bar up to date.
fn fill(bar: &ProgressBar, report: &Report) {
    let (done, total) = report.done_of_total().unwrap_or_default();
    bar.set_style(bar_style(total != 0));
    bar.set_prefix(report.phase.present());
    bar.update(|state| {
        state.set_len(total);
        state.set_pos(done);
    });
    bar.set_message(report.bar_text());
}

/// A bar when the total is known, else a spinner.
fn bar_style(known: bool) -> ProgressStyle {
    let template = if known {
        "{spinner} {prefix} [{bar:16}] {percent:>3}% {wide_msg}"
    } else {
        "{spinner} {prefix} {wide_msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl View for TerminalView {
    fn begin(&mut self, _: &Report) {}

    fn tick(&mut self, report: &Report) {
        if report.elapsed >= BAR_AFTER {
            self.draw(report);
        }
    }

    fn end(&mut self, report: &Report) {
        self.clear();
        if self.eager || report.elapsed >= LINE_AFTER {
            let mark = self.voice.console.paint(Style::Good, "✓");
            self.voice.console.line(&format!("{mark} {}", report.end_text()));
        }
    }

    fn warn(&mut self, message: &str) {
        self.voice.warn(message);
    }
}

/// Shows lines at the beginning, the end and now and then between.
pub struct PlainView {
    voice: Voice,
    eager: bool,
    /// Time of the phase at the last line; none before the first.
    last: Option<Duration>,
}

impl PlainView {
    /// `eager` shows short phases too.
    pub fn new(voice: Voice, eager: bool) -> Self {
        Self { voice, eager, last: None }
    }

    fn line(&mut self, report: &Report) {
        self.last = Some(report.elapsed);
        let (phase, text) = (report.phase.present(), report.progress_text());
        let separator = if text.is_empty() { "" } else { ": " };
        self.voice.console.line(&format!("{phase}{separator}{text}"));
    }
}

impl View for PlainView {
    fn begin(&mut self, report: &Report) {
        self.last = None;
        if self.eager {
            self.last = Some(Duration::ZERO);
            self.voice.console.line(report.phase.present());
        }
    }

    fn tick(&mut self, report: &Report) {
        let due = self.last.map_or(PLAIN_AFTER, |last| last + PLAIN_EVERY);
        if report.elapsed >= due {
            self.line(report);
        }
    }

    fn end(&mut self, report: &Report) {
        if self.last.is_some() || report.elapsed >= PLAIN_AFTER {
            self.voice.console.line(&report.end_text());
        }
    }

    fn warn(&mut self, message: &str) {
        self.voice.warn(message);
    }
}

/// Shows one JSON document a line: every second, and at the end of each phase.
pub struct JsonView {
    voice: Voice,
    last: Duration,
}

/// Where a phase stands. Times and counts are of the phase; null is not known.
#[derive(Serialize)]
struct Status {
    message_type: &'static str,
    phase: &'static str,
    seconds_elapsed: f64,
    seconds_remaining: Option<f64>,
    percent_done: Option<f64>,
    total_files: Option<u64>,
    files_done: u64,
    total_bytes: Option<u64>,
    bytes_done: u64,
    /// Found since the operation began, while the walk goes on.
    files_found: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<MetricsSnapshot>,
}

impl From<&Report> for Status {
    fn from(report: &Report) -> Self {
        let totals = report.counters.totals;
        Self {
            message_type: "status",
            phase: report.phase.name(),
            seconds_elapsed: report.elapsed.as_secs_f64(),
            seconds_remaining: report.remaining().map(|left| left.as_secs_f64()),
            percent_done: report.percent(),
            total_files: totals.map(|totals| totals.files),
            files_done: report.files(),
            total_bytes: totals.map(|totals| totals.bytes),
            bytes_done: report.counters.bytes_done,
            files_found: report.counters.discovered,
            metrics: report.metrics,
        }
    }
}

impl JsonView {
    /// JSON lines on stderr, warnings included.
    pub fn new(voice: Voice) -> Self {
        Self { voice: Voice { json: true, ..voice }, last: Duration::ZERO }
    }

    fn status(&mut self, report: &Report) {
        self.last = report.elapsed;
        self.voice.console.json(&Status::from(report));
    }
}

impl View for JsonView {
    fn begin(&mut self, _: &Report) {
        self.last = Duration::ZERO;
    }

    fn tick(&mut self, report: &Report) {
        if report.elapsed >= self.last + JSON_EVERY {
            self.status(report);
        }
    }

    fn end(&mut self, report: &Report) {
        self.status(report);
    }

    fn warn(&mut self, message: &str) {
        self.voice.warn(message);
    }
}

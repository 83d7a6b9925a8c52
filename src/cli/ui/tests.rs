//! Tests of what goes to which stream, and when.

use super::testing::Captured;
use super::*;
use crate::progress::{CounterSnapshot, Phase, Totals};

fn captured(change: impl FnOnce(&mut UiOptions)) -> Captured {
    let mut options = UiOptions::default();
    change(&mut options);
    Captured::new(&options)
}

fn report(millis: u64, bytes_done: u64) -> Report {
    let totals = Some(Totals { files: 4, bytes: 4000 });
    let counters = CounterSnapshot { files_done: 1, bytes_done, discovered: 4, totals };
    let elapsed = Duration::from_millis(millis);
    Report { phase: Phase::Processing, elapsed, counters, metrics: None }
}

/// Shows a phase of `millis` at ten looks a second.
fn show(view: &mut dyn View, millis: u64) {
    view.begin(&report(0, 0));
    for at in (100..millis).step_by(100) {
        view.tick(&report(at, at.min(4000)));
    }
    view.end(&report(millis, 4000));
}

#[test]
fn data_and_messages_go_to_their_streams() {
    let said = captured(|_| {});
    said.ui.line("data").unwrap();
    said.ui.message("done\x1b[2J");
    said.ui.detail(1, "hidden");
    said.ui.warn("careful");
    said.ui.flush().unwrap();
    assert_eq!(said.out(), "data\n");
    assert_eq!(said.err(), "done\\u{1b}[2J\nwarning: careful\n");
}

#[test]
fn quiet_keeps_warnings_and_json_keeps_json_only() {
    let said = captured(|options| options.quiet = true);
    said.ui.message("done");
    said.ui.warn("careful");
    assert_eq!(said.err(), "warning: careful\n");

    let said = captured(|options| options.json = true);
    said.ui.message("done");
    said.ui.warn("careful");
    let warning = r#"{"message_type":"error","level":"warning","message":"careful"}"#;
    assert_eq!(said.err(), format!("{warning}\n"));
    said.ui.json_line(&serde_json::json!({"message_type": "summary"})).unwrap();
    assert_eq!(said.out(), "{\"message_type\":\"summary\"}\n");
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn closed_streams_end_quietly() {
    let (out, err) = (Output::new(Closed, false), Output::new(Closed, false));
    let ui = Ui::with_outputs(UiOptions::default(), &|_| None, out, err);
    ui.message("nobody reads this");
    let error = ui.line("data").unwrap_err();
    assert!(matches!(error.get_ref(), Some(inner) if inner.is::<OutputError>()));
    let error = crate::cli::error::CliError::from(anyhow::Error::from(error));
    assert_eq!(error.code, crate::cli::exit_code::ExitCode::Success);
}

#[test]
fn plain_lines_come_only_for_long_phases() {
    let said = captured(|_| {});
    let mut view = PlainView::new(said.ui.voice(), false);
    show(&mut view, 1900);
    assert_eq!(said.err(), "");
    show(&mut view, 23_000);
    let text = said.err();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("Processing: 1 of 4 files, 2.0 KiB of 3.9 KiB"), "{text}");
    assert_eq!(lines[3], "Processed 1 file, 3.9 KiB in 23.0 s");

    let said = captured(|_| {});
    show(&mut PlainView::new(said.ui.voice(), true), 100);
    assert_eq!(said.err(), "Processing\nProcessed 1 file, 3.9 KiB in 0.1 s\n");
}

#[test]
fn json_lines_have_every_published_field() {
    let said = captured(|_| {});
    show(&mut JsonView::new(said.ui.voice()), 2500);
    let text = said.err();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    let expected = serde_json::json!({
        "message_type": "status", "phase": "processing",
        "seconds_elapsed": 1.0, "seconds_remaining": 3.0, "percent_done": 25.0,
        "total_files": 4, "files_done": 1, "total_bytes": 4000, "bytes_done": 1000,
        "files_found": 4,
    });
    assert_eq!(lines[0], expected);
    assert_eq!(lines[2]["percent_done"], 100.0);
}

#[test]
fn a_terminal_gets_a_line_for_each_phase_that_took_time() {
    let said = captured(|_| {});
    let mut view = TerminalView::new(said.ui.voice(), false);
    show(&mut view, 400);
    assert_eq!(said.err(), "");
    show(&mut view, 800);
    view.warn("cannot read 'x'");
    assert_eq!(said.err(), "✓ Processed 1 file, 3.9 KiB in 0.8 s\nwarning: cannot read 'x'\n");
}

#[test]
fn a_walk_ends_after_processing_began_and_before_it_ends() {
    let said = captured(|options| options.progress = ProgressMode::Json);
    let monitor = said.ui.monitor();
    let metrics = Arc::new(crate::metrics::PerformanceMetrics::default());
    monitor.watch(&metrics);
    monitor.phase(Phase::Discovery);
    monitor.discovered(5);
    monitor.phase(Phase::Processing);
    monitor.advance(1, 10);
    metrics.add_file(10);
    monitor.discovered(2);
    monitor.totals(3, 30);
    monitor.advance(2, 20);
    monitor.phase(Phase::Writing);
    drop(monitor);
    let text = said.err();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let phases: Vec<_> = lines.iter().map(|line| line["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["discovery", "filtering", "processing", "writing"], "{text}");
    assert_eq!((&lines[0]["files_done"], &lines[0]["total_files"]), (&7.into(), &().into()));
    assert_eq!((&lines[1]["files_found"], &lines[1]["total_files"]), (&7.into(), &3.into()));
    assert_eq!((&lines[2]["files_done"], &lines[2]["bytes_done"]), (&3.into(), &30.into()));
    assert_eq!(lines[2]["metrics"]["files_processed"], 1);
}

#[test]
fn the_flags_choose_the_monitor() {
    let status = |change: fn(&mut UiOptions)| {
        let said = captured(change);
        let monitor = said.ui.monitor();
        monitor.phase(Phase::Discovery);
        monitor.discovered(3);
        monitor.warn("careful");
        drop(monitor);
        said.err()
    };
    assert_eq!(status(|_| {}), "warning: careful\n");
    assert_eq!(status(|options| options.progress = ProgressMode::Never), "warning: careful\n");
    assert_eq!(status(|options| options.quiet = true), "warning: careful\n");
    let always = status(|options| options.progress = ProgressMode::Always);
    assert!(always.starts_with("Scanning\nwarning: careful\nScanned 3 files in "), "{always}");
    for json in [
        status(|options| options.json = true),
        status(|options| options.progress = ProgressMode::Json),
    ] {
        assert_eq!(json.lines().count(), 2, "{json}");
        assert!(json.lines().all(|line| line.starts_with("{\"message_type\":")), "{json}");
        assert!(json.contains("\"files_done\":3"), "{json}");
    }
}

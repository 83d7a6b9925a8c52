//! Planning, settings, metrics, history and tuning, through the binary.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use common::{Output, Sandbox, assert_same, noise, text};
use digstore::storage::format::bytes::push_checksum;
use digstore::storage::format::run_history::{RunCommand, RunHistory, RunRecord};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A file of `size` bytes that takes no space.
fn sparse(sandbox: &Sandbox, name: &str, size: u64) {
    sandbox.write(name, "");
    fs::OpenOptions::new().write(true).open(sandbox.path(name)).unwrap().set_len(size).unwrap();
}

/// Makes a file old enough that its times prove that it did not change.
fn age(sandbox: &Sandbox, name: &str) {
    let file = fs::OpenOptions::new().write(true).open(sandbox.path(name)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_nanos(1_000_000_000_000_000_123)).unwrap();
    // When that was set is a time as well.
    std::thread::sleep(Duration::from_millis(30));
}

/// `debug plan --json`, with settings.
#[track_caller]
fn plan(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let mut args = vec!["--json", "debug", "plan"];
    settings.iter().for_each(|setting| args.extend(["--config", setting]));
    sandbox.ok(args).json()
}

/// `add -A --json`, with settings.
#[track_caller]
fn add(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let mut args = vec!["--json", "add", "-A"];
    settings.iter().for_each(|setting| args.extend(["--config", setting]));
    sandbox.ok(args).json()
}

/// Why a parameter of a plan is what it is.
fn why(plan: &Value, parameter: &str) -> String {
    let reasons = plan["reasons"].as_array().unwrap().iter();
    let own = reasons.filter(|reason| reason["parameter"] == parameter);
    own.map(|reason| reason["why"].as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

// ---- the plan --------------------------------------------------------------------------------

#[test]
fn the_plan_follows_what_lies_in_the_work_tree() {
    let sandbox = Sandbox::new();
    let kinds = |value: &Value| {
        let plan = &value["plan"];
        (plan["workload"].clone(), plan["strategy"].clone(), number(&plan["workers"]))
    };
    let wanted =
        |workload: &str, strategy: &str, workers: u64| (workload.into(), strategy.into(), workers);
    let cores = number(&plan(&sandbox, &[])["limits"]["cores"]);
    assert_eq!(kinds(&plan(&sandbox, &[])), wanted("mixed", "individual", 1));

    (0..40).for_each(|n| sandbox.write(format!("small/{n}"), text(n, 100)));
    let small = plan(&sandbox, &[]);
    assert_eq!(kinds(&small), wanted("many-small-files", "batch-parallel", 2 * cores));
    assert_eq!(number(&small["files"]["count"]), 40);
    assert!(why(&small, "workload").starts_with("40 of 40 files"), "{small}");

    sparse(&sandbox, "large/a", 20 * MIB);
    let alone = sandbox.ok(["--json", "debug", "plan", "large"]).json();
    assert_eq!(kinds(&alone), wanted("single-large-file", "streaming-large", 2 * cores));
    (0..25).for_each(|n| sandbox.write(format!("middle/{n}"), vec![0; 100_000]));
    ["b", "c"].iter().for_each(|n| sparse(&sandbox, &format!("large/{n}"), 20 * MIB));
    let large = plan(&sandbox, &[]);
    assert_eq!(kinds(&large), wanted("few-large-files", "streaming-large", 2 * cores));
    let some = sandbox.ok(["--json", "debug", "plan", "middle", "small/1", "small/2"]).json();
    assert_eq!(kinds(&some), wanted("mixed", "hybrid", 2 * cores));

    sandbox.write(".digignore", "large\nmiddle\n");
    assert_eq!(number(&plan(&sandbox, &[])["files"]["count"]), 41, "ignored files do not count");
    assert!(!sandbox.path(".digstore/metrics").exists(), "nothing was done");
}

#[test]
fn the_plan_is_told_in_words() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "x");
    let output = sandbox.ok(["debug", "plan"]);
    let lines: Vec<&str> = output.text().lines().collect();
    for (name, words) in [
        ("files", "1, 1 B: 1 below 64 KiB, 0 B in files above 10 MiB"),
        ("workload", "many small files (1 of 1 files, more than 80 %, are below 64 KiB)"),
        ("strategy", "one file at a time (a handful of files"),
        ("batch_files", "500 (the default)"),
        ("tuning", "0 of 3 runs of this workload above 64 MiB are known"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        assert!(line[name.len()..].trim_start().starts_with(words), "{line}");
    }
    assert!(!sandbox.ok(["--help"]).text().contains("debug"), "it is hidden");
    sandbox.fails(20, ["debug", "plan", "nothing"]);
}

#[test]
fn a_handful_of_files_takes_one_worker_and_a_tree_several() {
    let sandbox = Sandbox::new();
    (0..20).for_each(|n| sandbox.write(format!("{n}"), text(n, 500)));
    let few = add(&sandbox, &[]);
    assert_eq!(
        (&few["plan"]["strategy"], &few["plan"]["workers"]),
        (&"individual".into(), &1.into())
    );
    assert_eq!(few["metrics"]["batches"], 1);
    (0..20).for_each(|n| sandbox.remove(format!("{n}")));
    (0..600).for_each(|n| sandbox.write(format!("d{}/{n}", n % 7), text(n, 4000)));
    let many = add(&sandbox, &["performance.max_worker_threads=3"]);
    assert_eq!(many["plan"]["strategy"], "batch-parallel");
    assert_eq!(
        (&many["plan"]["workers"], &many["metrics"]["files_processed"]),
        (&3.into(), &600.into())
    );
    let id = sandbox.commit("one");
    assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
}

// ---- settings --------------------------------------------------------------------------------

#[test]
fn the_number_of_workers_can_be_set_and_memory_bounds_it() {
    let sandbox = Sandbox::new();
    (0..40).for_each(|n| sandbox.write(format!("{n}"), "x".repeat(n)));
    let workers = |settings: &[&str]| {
        let plan = plan(&sandbox, settings);
        (number(&plan["plan"]["workers"]), why(&plan, "workers"))
    };
    assert_eq!(
        workers(&["performance.max_worker_threads=7"]),
        (7, "set by performance.max_worker_threads".to_owned())
    );
    assert!(workers(&["performance.max_worker_threads=0"]).1.starts_with("twice the "));
    let (bounded, words) =
        workers(&["performance.max_worker_threads=100", "performance.max_memory_usage=64MB"]);
    assert!((1..=4).contains(&bounded), "{bounded}");
    assert!(words.starts_with("100 were wanted; "), "{words}");
    assert_eq!(workers(&["performance.max_worker_threads=1"]).0, 1);
}

#[test]
fn the_least_memory_is_enough() {
    let sandbox = Sandbox::new();
    (0..700).for_each(|n| sandbox.write(format!("d/{n}"), text(n, 3000)));
    sandbox.write("large", noise(1, 6_000_000));
    let least = ["performance.max_memory_usage=64MB", "performance.chunk_cache_size=1GB"];
    let told = plan(&sandbox, &least);
    assert_eq!(number(&told["limits"]["pipelines"]), 32 * MIB);
    let taken = number(&told["limits"]["worker_bytes"]) * number(&told["plan"]["workers"])
        + number(&told["plan"]["queue_bytes"]);
    assert!(taken <= 32 * MIB, "{taken}: {told}");
    assert_eq!(why(&told, "chunk_cache"), "cut to half of all memory, 32 MiB");
    assert_eq!(why(&told, "file_cache"), "cut to a quarter of all memory, 16 MiB");
    let added = add(&sandbox, &[&least[..], &["performance.max_worker_threads=1"]].concat());
    assert_eq!(
        (&added["plan"]["workers"], &added["plan"]["strategy"]),
        (&1.into(), &"individual".into())
    );
    let id = sandbox.commit("one");
    assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
}

#[test]
fn a_batch_has_no_more_files_than_allowed() {
    let sandbox = Sandbox::new();
    (0..120).for_each(|n| sandbox.write(format!("{n}"), text(n, 10)));
    let batches = |settings: &[&str]| {
        let added = add(&sandbox, settings);
        sandbox.ok(["rm", "--cached", "-r", "-q", "."]);
        number(&added["metrics"]["batches"])
    };
    assert_eq!(batches(&[]), 1);
    assert_eq!(batches(&["performance.batch_size=50"]), 3);
    assert_eq!(batches(&["performance.batch_size=1"]), 120);
}

/// The metrics of adding one file, with settings.
#[track_caller]
fn adding(bytes: &[u8], settings: &[&str]) -> Value {
    let sandbox = Sandbox::new();
    sandbox.write("file", bytes);
    let added = add(&sandbox, settings);
    let id = sandbox.commit("one");
    assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
    added["metrics"].clone()
}

#[test]
fn one_read_has_no_more_bytes_than_allowed() {
    let bytes = noise(1, 3 << 20);
    let reads = |setting: &str| number(&adding(&bytes, &[setting])["reads"]);
    assert!(reads("performance.buffer_size=4KB") >= 3 * 256);
    assert!(reads("performance.buffer_size=1MB") <= 12);
    let sandbox = Sandbox::new();
    let told = plan(&sandbox, &["performance.buffer_size=64MB"]);
    assert_eq!(told["plan"]["buffer_bytes"], 1 << 20);
    assert!(why(&told, "buffer_bytes").starts_with("cut to a segment"), "{told}");
}

#[test]
fn large_files_are_spread_over_the_workers_from_the_threshold_on() {
    let bytes = noise(2, 6 << 20);
    let spread = |settings: &[&str]| {
        let workers = ["performance.max_worker_threads=3"];
        number(&adding(&bytes, &[&workers, settings].concat())["files_spread"])
    };
    assert_eq!(spread(&[]), 1, "the others would idle");
    assert_eq!(spread(&["performance.streaming_threshold=100MB"]), 0, "what is set counts");
    assert_eq!(spread(&["performance.streaming_threshold=6MB"]), 0);
    assert_eq!(spread(&["performance.streaming_threshold=6291455"]), 1);
}

#[test]
fn blocks_below_the_threshold_stay_raw() {
    let bytes = text(3, 30_000);
    let raw = |setting: &str| number(&adding(&bytes, &[setting])["bytes_raw"]);
    assert_eq!(raw("performance.compression_threshold=4KB"), 0);
    assert!(raw("performance.compression_threshold=1MB") >= 30_000);
}

#[test]
fn thresholds_and_caches_are_in_the_plan() {
    let sandbox = Sandbox::new();
    let told = plan(
        &sandbox,
        &[
            "performance.memory_map_threshold=3MB",
            "performance.streaming_threshold=5MB",
            "performance.chunk_cache_size=7MB",
            "performance.file_cache_size=9MB",
        ],
    );
    assert_eq!(told["plan"]["map_above"], 3 * MIB);
    assert_eq!(told["plan"]["spread_above"], 5 * MIB);
    assert_eq!(told["limits"]["chunk_cache"], 7 * MIB);
    assert_eq!(told["limits"]["file_cache"], 9 * MIB);
}

#[test]
fn absurd_values_are_mistakes_of_usage() {
    let sandbox = Sandbox::new();
    for (key, values) in [
        ("max_worker_threads", &["-1", "1025", "many", "1.5", "99999999999999999999999"][..]),
        ("batch_size", &["0", "-5", "1000001", ""]),
        ("buffer_size", &["0", "1KB", "65MB", "-1"]),
        ("max_memory_usage", &["0", "63MB", "2000TB", "99999999TB", "lots"]),
        ("chunk_cache_size", &["-1", "1XB", "18446744073709551616"]),
        ("file_cache_size", &["-1", "1.5MB"]),
        ("memory_map_threshold", &["-1", "never"]),
        ("compression_threshold", &["-1", "2000TB"]),
        ("streaming_threshold", &["-1", "0x10"]),
        ("auto_tune", &["maybe", "2", ""]),
    ] {
        for value in values {
            let setting = format!("performance.{key}={value}");
            let told = sandbox.fails(2, ["--config", &setting, "debug", "plan"]);
            assert!(told.contains(&format!("'performance.{key}'")), "{setting}: {told}");
            assert!(told.contains("but it expects "), "{setting}: {told}");
        }
    }
}

// ---- metrics and progress --------------------------------------------------------------------

#[test]
fn metrics_are_in_the_summary_and_in_the_status_lines() {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 300_000));
    sandbox.write("b", text(2, 9000));
    let output = sandbox.ok(["--json", "add", "-A"]);
    let metrics = output.json()["metrics"].clone();
    assert_eq!(metrics["files_processed"], 2);
    assert_eq!(metrics["bytes_processed"], 309_000);
    for field in [
        "bytes_mapped",
        "bytes_in_holes",
        "chunks_predicted",
        "bytes_chunked_twice",
        "peak_pool_bytes",
    ] {
        assert!(metrics[field].is_u64(), "{field}: {metrics}");
    }
    assert!(metrics["stage_seconds"]["hashing"].as_f64().unwrap() > 0.0);
    assert!(metrics["wait_seconds"]["writer_for_workers"].as_f64().unwrap() > 0.0);
    let status = statuses(&output);
    let phases: Vec<&str> = status.iter().map(|line| line["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["discovery", "filtering", "processing", "writing"]);
    assert_eq!((&status[1]["files_found"], &status[1]["total_files"]), (&2.into(), &2.into()));
    assert_eq!(status[2]["metrics"]["files_processed"], 2);
}

fn statuses(output: &Output) -> Vec<Value> {
    let lines = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line: &Value| line["message_type"] == "status").collect()
}

#[test]
fn what_did_not_change_is_found_and_not_processed() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "x");
    age(&sandbox, "a");
    sandbox.save("one");
    let output = sandbox.ok(["--json", "add", "-A"]);
    let status = statuses(&output);
    let phases: Vec<&str> = status.iter().map(|line| line["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["discovery", "writing"]);
    assert_eq!(status[0]["files_found"], 1);
    let lines = sandbox.ok(["--progress", "always", "add", "-A"]).stderr;
    assert!(lines.starts_with("Scanning\nScanned 1 file in "), "{lines}");
}

// ---- history ---------------------------------------------------------------------------------

const HISTORY: &str = ".digstore/metrics/history";

fn history(sandbox: &Sandbox) -> RunHistory {
    RunHistory::decode(&sandbox.read(HISTORY)).unwrap()
}

fn commands(sandbox: &Sandbox) -> Vec<RunCommand> {
    history(sandbox).runs.iter().map(|run| run.command).collect()
}

#[test]
fn runs_that_did_something_are_recorded() {
    use RunCommand::{Add, Commit, Get, Restore};
    let sandbox = Sandbox::new();
    sandbox.write("large", noise(1, 17 << 20));
    sandbox.write("small", "x");
    age(&sandbox, "large");
    age(&sandbox, "small");
    let added = add(&sandbox, &["performance.max_worker_threads=2"]);
    sandbox.commit("one");
    assert_eq!(commands(&sandbox), [Add, Commit]);
    let run = history(&sandbox).runs[0];
    assert_eq!(run.counters.bytes_processed, number(&added["metrics"]["bytes_processed"]));
    assert_eq!(run.counters.bytes_stored, number(&added["metrics"]["bytes_stored"]));
    assert_eq!((run.parameters.workers, run.workload), (2, 3));
    assert!(run.wall_nanos >= run.processing_nanos && run.processing_nanos > 0);
    assert!(run.stage_nanos.iter().all(|nanos| *nanos > 0), "{run:?}");
    assert!(run.peak_memory > MIB);

    // Nothing to do, and a read too short to say anything.
    add(&sandbox, &[]);
    sandbox.ok(["add", "-n", "."]);
    sandbox.ok(["get", "small"]);
    sandbox.ok(["get", "large", "--range", "0-1000"]);
    sandbox.ok(["restore", "."]);
    assert_eq!(commands(&sandbox), [Add, Commit]);
    sandbox.ok(["get", "large"]);
    sandbox.remove("small");
    sandbox.ok(["restore", "small"]);
    assert_eq!(commands(&sandbox), [Add, Commit, Get, Restore]);
    let runs = history(&sandbox).runs;
    assert_eq!((runs[2].counters.bytes_processed, runs[3].counters.files_processed), (17 << 20, 1));
    assert!(sandbox.ok(["store", "verify"]).stderr.contains("no damage"));
}

#[test]
fn a_damaged_history_is_begun_anew() {
    let sandbox = Sandbox::new();
    for (n, damage) in [&b"garbage"[..], &[0; 400_000], b""].into_iter().enumerate() {
        sandbox.write(HISTORY, damage);
        sandbox.write("file", format!("{n}"));
        let told = sandbox.ok(["-v", "add", "-A"]).stderr;
        assert_eq!(told.matches("warning: the history of runs").count(), 1, "{told}");
        assert_eq!(commands(&sandbox), [RunCommand::Add]);
        sandbox.append("file", "more");
        let told = sandbox.ok(["-v", "add", "-A"]).stderr;
        assert!(!told.contains("history"), "{told}");
    }
    sandbox.write(HISTORY, "garbage");
    assert!(sandbox.ok(["store", "stats"]).stderr.contains("cannot be read"));
    sandbox.write("file", "quiet");
    assert_eq!(sandbox.ok(["-q", "add", "-A"]).stderr, "");
}

#[test]
fn a_history_of_a_newer_release_is_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    sandbox.ok(["add", "-A"]);
    let mut bytes = sandbox.read(HISTORY);
    bytes[8] = 2;
    bytes.truncate(bytes.len() - 8);
    push_checksum(&mut bytes, 0);
    sandbox.write(HISTORY, &bytes);
    sandbox.write("file", "y");
    assert!(sandbox.ok(["-v", "add", "-A"]).stderr.contains("format version 2"));
    assert_eq!(sandbox.read(HISTORY), bytes);
}

#[test]
fn a_history_that_cannot_be_written_fails_no_command() {
    let sandbox = Sandbox::new();
    sandbox.write(".digstore/metrics", "a file in the place of the directory");
    sandbox.write("file", "x");
    let told = sandbox.ok(["-v", "add", "-A"]).stderr;
    assert!(told.contains("warning: the history of runs"), "{told}");
    sandbox.commit("one");
    sandbox.ok(["restore", "--target", "../copy"]);
}

// ---- statistics and tuning -------------------------------------------------------------------

#[test]
fn statistics_begin_with_nothing() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(["store", "stats"]).text().ends_with("no runs are recorded yet\n"));
    assert_eq!(
        sandbox.ok(["store", "stats", "--performance"]).text(),
        "no runs are recorded yet\n"
    );
    let empty = sandbox.ok(["--json", "store", "stats", "--performance"]).json();
    assert_eq!((&empty["runs"], &empty["bottleneck"]), (&Value::Array(Vec::new()), &Value::Null));
}

#[test]
fn statistics_tell_runs_trend_and_bottleneck() {
    let sandbox = Sandbox::new();
    for n in 0..7 {
        sandbox.write("file", noise(n, 500_000));
        sandbox.save("next");
    }
    let overview = sandbox.ok(["store", "stats"]).text().to_owned();
    assert!(overview.starts_with("7 commits, 1 path staged, "), "{overview}");
    assert!(overview.contains("\nlast add: 1 file, 488.3 KiB in "), "{overview}");
    let short = sandbox.ok(["--json", "store", "stats"]).json();
    assert_eq!(
        (&short["recorded_runs"], &short["last_runs"][1]["command"]),
        (&14.into(), &"commit".into())
    );

    let told = sandbox.ok(["store", "stats", "--performance"]).text().to_owned();
    for words in [
        "finished",
        "\n  add, mixed (7 runs): ",
        "\n  commit (7 runs): ",
        "the last add was bound by ",
        "\n  many small files: the defaults; ",
    ] {
        assert!(told.contains(words), "{words:?}: {told}");
    }
    let value = sandbox.ok(["--json", "store", "stats", "--performance"]).json();
    assert_eq!(value["runs"].as_array().unwrap().len(), 14);
    assert_eq!(value["trends"][0]["runs"], 7);
    assert!(value["trends"][0]["before"].is_number());
    let shares = value["bottleneck"]["shares"].as_array().unwrap();
    let largest = shares.iter().map(|share| share["share"].as_f64().unwrap()).fold(0.0, f64::max);
    let bound = value["bottleneck"]["share"].as_f64().unwrap();
    assert!(bound > 0.0 && bound <= largest, "{value}");
    assert_eq!(value["tuning"]["mixed"]["stage"], "measuring");
}

/// Three runs at the usual point, of the workload of many small files.
fn earlier_runs(sandbox: &Sandbox) -> RunHistory {
    let usual = plan(sandbox, &["performance.auto_tune=false"])["plan"].clone();
    let mut run = RunRecord::new(RunCommand::Add);
    run.parameters.workers = number(&usual["workers"]) as u32;
    run.parameters.solid_bytes = number(&usual["solid_bytes"]) as u32;
    run.parameters.batch_files = number(&usual["batch_files"]) as u32;
    run.parameters.solid_level = number(&usual["solid_level"]) as i32;
    (run.counters.bytes_processed, run.counters.bytes_new) = (100 * MIB, 100 * MIB);
    (run.processing_nanos, run.wall_nanos) = (1_000_000_000, 1_100_000_000);
    RunHistory { runs: vec![run; 3] }
}

#[test]
fn earlier_runs_tune_the_next_and_nothing_that_is_stored() {
    let tree = |sandbox: &Sandbox| {
        (0..200).for_each(|n| sandbox.write(format!("d{}/{n}", n % 9), text(n, 20_000)));
    };
    let plain = Sandbox::new();
    tree(&plain);
    let tuned = Sandbox::new();
    tree(&tuned);
    let mut runs = earlier_runs(&tuned);
    tuned.write(HISTORY, runs.encode());

    // The first neighbour has other workers; once it proved faster, runs stay there.
    let trial = plan(&tuned, &[]);
    assert_eq!(trial["tuning"]["stage"], "trying");
    assert_eq!(trial["plan"]["tuned"], true);
    let workers = number(&trial["plan"]["workers"]) as u32;
    assert!(workers < runs.runs[0].parameters.workers, "{trial}");
    assert!(why(&trial, "workers").starts_with("tuned: trying another workers"), "{trial}");
    let mut faster = runs.runs[0];
    (faster.parameters.workers, faster.processing_nanos) = (workers, 900_000_000);
    let usual = runs.runs[0];
    [faster, usual, faster, usual].into_iter().for_each(|run| runs.push(run));
    tuned.write(HISTORY, runs.encode());
    let kept = plan(&tuned, &[]);
    assert_eq!(kept["tuning"]["best"]["workers"], workers);

    // What the user sets wins, and all of it can be turned off.
    let set = plan(&tuned, &["performance.max_worker_threads=5"]);
    assert_eq!(set["plan"]["workers"], 5);
    let off = plan(&tuned, &["performance.auto_tune=false"]);
    assert_eq!((&off["tuning"]["stage"], &off["plan"]["tuned"]), (&"off".into(), &false.into()));
    let told = tuned.ok(["store", "stats", "--performance"]).text().to_owned();
    assert!(told.contains(" instead of "), "{told}");

    assert_eq!(add(&tuned, &[])["plan"]["tuned"], true);
    assert_eq!(add(&plain, &[])["plan"]["tuned"], false);
    let commit = |sandbox: &Sandbox| {
        let args = ["--json", "commit", "-m", "x", "--date", "@1"];
        sandbox.ok(args).json()["tree"].clone()
    };
    assert_eq!(commit(&tuned), commit(&plain));
    assert_same(&tuned.snapshot(), &tuned.restored("HEAD"));
}

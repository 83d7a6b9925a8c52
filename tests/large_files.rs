//! Large files through the binary: cut alike by any number of workers, guided by what is staged,
//! mapped, sparse, and cut off while they are read.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use common::{Output, Sandbox, noise, text};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// What is cut into many chunks of all kinds: noise, text, a run, zeros, a period.
fn mixture(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let part = seed + bytes.len() as u64;
        bytes.extend(noise(part, 700_000));
        bytes.extend(text(part, 500_000));
        bytes.extend(vec![part as u8; 600_000]);
        bytes.extend(noise(part, 3000).iter().cycle().take(400_000));
    }
    bytes.truncate(len);
    bytes
}

/// Makes a file old enough that its times prove that it did not change.
fn age(sandbox: &Sandbox, name: &str) {
    let file = OpenOptions::new().write(true).open(sandbox.path(name)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_nanos(1_000_000_000_000_000_123)).unwrap();
    // When that was set is a time as well.
    std::thread::sleep(Duration::from_millis(30));
}

/// `add -A` with settings; the metrics.
#[track_caller]
fn add(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let mut args = vec!["--json", "add", "-A"];
    settings.iter().for_each(|setting| args.extend(["--config", setting]));
    sandbox.ok(args).json()["metrics"].clone()
}

/// The content id of each staged path.
fn ids(sandbox: &Sandbox) -> Vec<(String, String)> {
    let listed = sandbox.ok(["ls", "--json"]).json();
    let entries = listed["entries"].as_array().unwrap().iter();
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.map(|entry| (words(&entry["path"]), words(&entry["id"]))).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn any_number_of_workers_gives_the_same_ids() {
    let bytes = mixture(1, 40 * MIB);
    let stored = |settings: &[&str]| {
        let sandbox = Sandbox::new();
        sandbox.write("large", &bytes);
        sandbox.write("larger", [&bytes[..], &bytes[..5 * MIB]].concat());
        let metrics = add(&sandbox, settings);
        (ids(&sandbox), number(&metrics["files_spread"]))
    };
    let (alone, spread) = stored(&["performance.max_worker_threads=1"]);
    assert_eq!((alone.len(), spread), (2, 0));
    for workers in ["2", "3", "8"] {
        let workers = format!("performance.max_worker_threads={workers}");
        let (many, spread) = stored(&[&workers, "performance.streaming_threshold=1MB"]);
        assert_eq!((many, spread), (alone.clone(), 2), "{workers}");
    }
    let (small_reads, _) = stored(&["performance.buffer_size=4KB"]);
    assert_eq!(small_reads, alone);
}

#[test]
fn what_is_staged_guides_the_next_version_and_changes_no_id() {
    let first = mixture(2, 30 * MIB);
    let mut second = first.clone();
    second.splice(100..100, *b"put in near the start");
    second[20 * MIB..20 * MIB + 5000].copy_from_slice(&noise(3, 5000));
    second.truncate(29 * MIB + 17);

    let fresh = Sandbox::new();
    fresh.write("data", &second);
    add(&fresh, &[]);

    for (settings, is_mapped) in
        [(&[][..], true), (&["performance.memory_map_threshold=1GB"][..], false)]
    {
        let sandbox = Sandbox::new();
        sandbox.write("data", &first);
        let metrics = add(&sandbox, settings);
        assert_eq!(
            (number(&metrics["bytes_mapped"]), number(&metrics["chunks_predicted"])),
            (0, 0)
        );
        sandbox.write("data", &second);
        let metrics = add(&sandbox, settings);
        assert_eq!(ids(&sandbox), ids(&fresh));
        assert_eq!(number(&metrics["bytes_mapped"]) > 0, is_mapped, "{metrics}");
        // The runs of one byte need no guess.
        let predicted = number(&metrics["chunks_predicted"]);
        assert!(predicted * 2 > number(&metrics["chunks_created"]), "{metrics}");
        assert!(number(&metrics["bytes_new"]) < 2 * MIB as u64, "{metrics}");
        assert_eq!(sandbox.ok(["get", "data"]).stdout, second);
        sandbox.ok(["store", "verify", "--data"]);
    }
}

#[test]
fn holes_are_neither_read_nor_stored_and_come_back() {
    let sandbox = Sandbox::new();
    let island = noise(4, 3 * MIB);
    sandbox.write("sparse", "");
    let file = OpenOptions::new().write(true).open(sandbox.path("sparse")).unwrap();
    file.write_all_at(&island, 200 * MIB as u64 + 12_345).unwrap();
    file.set_len(600 * MIB as u64 + 77).unwrap();
    drop(file);
    let metrics = add(&sandbox, &[]);
    assert!(number(&metrics["bytes_in_holes"]) > 580 * MIB as u64, "{metrics}");
    assert!(number(&metrics["bytes_new"]) < 4 * MIB as u64, "{metrics}");
    let id = sandbox.commit("sparse");

    // The same bytes written out have the same id.
    let written = Sandbox::new();
    let mut bytes = vec![0; 600 * MIB + 77];
    bytes[200 * MIB + 12_345..][..island.len()].copy_from_slice(&island);
    written.write("sparse", &bytes);
    add(&written, &[]);
    assert_eq!(ids(&written), ids(&sandbox));

    let target = sandbox.beside("copy");
    sandbox.ok(["restore", "-s", &id, "--target", target.to_str().unwrap()]);
    assert!(fs::read(target.join("sparse")).unwrap() == bytes);
    let blocks =
        std::os::unix::fs::MetadataExt::blocks(&fs::metadata(target.join("sparse")).unwrap());
    assert!(blocks * 512 < 8 * MIB as u64, "{blocks} blocks for 3 MiB of data");
}

/// Every length around the limits of the pipelines: one chunk, one batch, one segment.
#[test]
fn lengths_at_every_limit_round_trip() {
    let sandbox = Sandbox::new();
    let bytes = mixture(5, 3 * MIB);
    let limits = [0, 1, 16 << 10, 64 << 10, 256 << 10, MIB, MIB + (256 << 10), 2 * MIB];
    for limit in limits {
        for len in [limit.saturating_sub(1), limit, limit + 1] {
            sandbox.write(format!("noise-{len}"), noise(len as u64, len));
            sandbox.write(format!("zeros-{len}"), vec![0; len]);
            sandbox.write(format!("mixed-{len}"), &bytes[bytes.len() - len..]);
        }
    }
    sandbox.ok(["add", "-A"]);
    let id = sandbox.commit("limits");
    common::assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
}

/// Cuts a file off and fills it again, over and over, while `add` reads it.
#[test]
fn a_file_cut_off_while_it_is_mapped_kills_nothing() {
    let sandbox = Sandbox::new();
    let bytes = noise(6, 24 * MIB);
    sandbox.write("log", &bytes);
    sandbox.write("other", noise(7, 3 * MIB));
    sandbox.ok(["add", "-A"]);
    let stop = AtomicBool::new(false);
    let path = sandbox.path("log");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            for round in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                file.set_len(round * 977_777 % bytes.len() as u64).unwrap();
                file.write_all_at(&bytes, 0).unwrap();
            }
        });
        for _ in 0..8 {
            let mut command = sandbox.command(["add", "-A"]);
            command.stdin(Stdio::null());
            let output = Output::of(&mut command);
            assert!(matches!(output.code, 0 | 3), "{output:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    sandbox.write("log", &bytes);
    age(&sandbox, "log");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.ok(["get", "log"]).stdout, bytes);
    sandbox.ok(["store", "verify", "--data"]);
}

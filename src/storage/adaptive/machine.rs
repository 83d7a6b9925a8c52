//! What the machine has: cores, memory that is free to use, memory that this process took.
//!
//! Linux tells all of it in small text files; a system without them tells nothing, and then the
//! settings alone count.

use std::path::{Path, PathBuf};

use crate::storage::queues::available_cores;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory that may still be taken; `None` if nothing says so.
    pub available: Option<u64>,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Self {
        let group = group_available(&read("/proc/self/cgroup"), &|path| read(path));
        let whole = field(&read("/proc/meminfo"), "MemAvailable:");
        let available = [whole, group].into_iter().flatten().min();
        Self { cores: available_cores(), available }
    }
}

/// Most bytes of memory that this process held so far; 0 if nothing says so.
pub fn peak_memory() -> u64 {
    field(&read("/proc/self/status"), "VmHWM:").unwrap_or(0)
}

/// A small text of the kernel; empty if there is none.
fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The bytes of a line such as `MemAvailable:  123 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// Where a version of the control groups keeps what.
struct Interface {
    /// What stands between the colons of its line in `/proc/self/cgroup`.
    controllers: &'static str,
    root: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with the pages of files that the kernel can drop.
    droppable: &'static str,
}

const INTERFACES: [Interface; 2] = [
    Interface {
        controllers: "::",
        root: "/sys/fs/cgroup",
        limit: "memory.max",
        used: "memory.current",
        droppable: "inactive_file ",
    },
    Interface {
        controllers: ":memory:",
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        droppable: "total_inactive_file ",
    },
];

/// What the control groups around this process leave it: the least of limit minus use over the
/// group and those above it. Pages of files that the kernel can drop do not count as used.
fn group_available(groups: &str, read: &dyn Fn(&Path) -> String) -> Option<u64> {
    let number = |text: String| text.trim().parse::<u64>().ok();
    let left = |interface: &Interface| {
        let own = groups.lines().find_map(|line| {
            let number_less = line.trim_start_matches(|ch: char| ch.is_ascii_digit());
            number_less.strip_prefix(interface.controllers)?.strip_prefix('/')
        })?;
        let dirs = Path::new(own).ancestors().map(|dir| Path::new(interface.root).join(dir));
        let left_in = |dir: PathBuf| {
            let limit = number(read(&dir.join(interface.limit)))?;
            let used = number(read(&dir.join(interface.used)))?;
            let stat = read(&dir.join("memory.stat"));
            let droppable = stat
                .lines()
                .find_map(|line| line.strip_prefix(interface.droppable))
                .and_then(|bytes| bytes.parse().ok())
                .unwrap_or(0);
            Some(limit.saturating_sub(used.saturating_sub(droppable)))
        };
        dirs.filter_map(left_in).min()
    };
    INTERFACES.iter().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_kibibytes() {
        let text = "MemTotal:  8 kB\nMemAvailable:      5 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(5120));
        assert_eq!(field(text, "MemFree:"), None);
        assert_eq!(field("MemAvailable: much kB", "MemAvailable:"), None);
        assert_eq!(field(&format!("X: {} kB", u64::MAX), "X:"), None);
    }

    #[test]
    fn the_tightest_group_counts_without_what_can_be_dropped() {
        let files = |path: &Path| {
            let text = match path.to_str().unwrap() {
                "/sys/fs/cgroup/a/memory.max" => "1000\n",
                "/sys/fs/cgroup/a/memory.current" => "900\n",
                "/sys/fs/cgroup/a/memory.stat" => "anon 3\ninactive_file 400\n",
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/memory.max" => "5000\n",
                "/sys/fs/cgroup/memory.current" => "9000\n",
                _ => "",
            };
            text.to_owned()
        };
        assert_eq!(group_available("0::/a/b\n", &files), Some(0), "overdrawn by the outer one");
        let inner = |path: &Path| {
            if path.starts_with("/sys/fs/cgroup/a") { files(path) } else { String::new() }
        };
        assert_eq!(group_available("0::/a/b\n", &inner), Some(500));
        assert_eq!(group_available("1:cpu:/a\n", &files), None);

        let first = |path: &Path| {
            let text = match path.to_str().unwrap() {
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "700\n",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes" => "300\n",
                "/sys/fs/cgroup/memory/memory.stat" => "inactive_file 1\ntotal_inactive_file 50\n",
                _ => "",
            };
            text.to_owned()
        };
        let groups = "8:pids:/\n12:memory:/inner/one\n0::/\n";
        assert_eq!(group_available(groups, &first), Some(450), "version 1, seen from inside");
        assert_eq!(group_available("", &files), None);
    }

    #[test]
    fn this_machine_has_a_core_and_this_process_some_memory() {
        assert!(Machine::look().cores > 0);
        assert!(peak_memory() > 0);
    }
}

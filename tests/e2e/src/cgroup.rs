//! Memory cgroups of version 1 that a story makes, and removes at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// A memory cgroup with a limit.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
}

impl MemoryCgroup {
    /// Makes one; `None`, after a line that says so, where that may not be.
    ///
    /// # Panics
    /// When it gets no limit.
    #[must_use]
    pub fn make(name: &str, limit_bytes: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/memory");
        let path = root.join(format!("unswept-{name}-{}", std::process::id()));
        if fs::create_dir(&path).is_err() {
            println!("SKIP: no cgroup of version 1 with the memory controller can be made here");
            return None;
        }
        println!("live: cgroup version 1; version 2 is tested on recorded trees, by the reader");
        let cgroup = Self { path };
        cgroup.set_limit(limit_bytes);
        Some(cgroup)
    }

    /// Sets another limit, and counts the most that was used from now on.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn set_limit(&self, bytes: u64) {
        let file = self.path.join("memory.limit_in_bytes");
        fs::write(file, bytes.to_string()).expect("a limit");
        let most = self.path.join("memory.max_usage_in_bytes");
        fs::write(most, "0").expect("a counter");
    }

    /// `program` in it, all its memory charged there, to be killed by the kernel at our end.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = process::command("sh");
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", script]).arg(&self.path).arg(program);
        command
    }

    /// Its path as figures name it: `/unswept-...`.
    ///
    /// # Panics
    /// Never: it has a name of ours.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().expect("a name");
        format!("/{}", name.to_string_lossy())
    }

    /// The number in one of its files, behind `field` where that is not empty.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn figure(&self, file: &str, field: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).expect("a file of the cgroup");
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(field)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no `{field}` in {file}: {text}"))
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // The kernel lets go of a cgroup a moment after its last process.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

//! Memory cgroups that a test makes and takes away.

use std::fs;
use std::path::PathBuf;

/// A memory cgroup of our own, gone when dropped; what still runs in it is killed.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// A new one with a limit, in the tree of version 1, or of version 2 where that has the controller.
    ///
    /// # Errors
    /// In words: no controller, or no right to it.
    pub fn new(name: &str, limit_bytes: u64) -> Result<Self, String> {
        let v1 = PathBuf::from("/sys/fs/cgroup/memory");
        let v2 = PathBuf::from("/sys/fs/cgroup");
        let controllers = fs::read_to_string(v2.join("cgroup.subtree_control"));
        let (root, limit) = if v1.join("memory.limit_in_bytes").is_file() {
            (v1, "memory.limit_in_bytes")
        } else if controllers.is_ok_and(|all| all.split_whitespace().any(|one| one == "memory")) {
            (v2, "memory.max")
        } else {
            return Err("there is no memory controller below /sys/fs/cgroup".into());
        };
        let folder = root.join(format!("unswept-e2e-{}-{name}", std::process::id()));
        let failed = |error| format!("{}: {error}", folder.display());
        fs::create_dir(&folder).map_err(failed)?;
        let group = Self { folder };
        let written = fs::write(group.folder.join(limit), limit_bytes.to_string());
        written.map_err(|error| format!("{}: {error}", group.folder.display()))?;
        Ok(group)
    }

    /// The version of its tree.
    #[must_use]
    pub fn version(&self) -> u8 {
        match self.folder.join("memory.limit_in_bytes").is_file() {
            true => 1,
            false => 2,
        }
    }

    /// The file to which a process writes its pid to join.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let pids = fs::read_to_string(self.procs()).unwrap_or_default();
        let pids = pids.lines().filter_map(|pid| pid.parse().ok());
        for pid in pids.filter_map(rustix::process::Pid::from_raw) {
            // An error means that it has ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // It is busy until the kernel has buried them.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

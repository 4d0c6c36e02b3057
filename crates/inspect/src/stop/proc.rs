//! The few facts of `/proc` that stopping a process needs. Formats: `proc(5)`.

use std::fs;
use std::io;

use super::StopError;

/// No process with more threads is stopped: listing and stopping them would take longer than any pause.
pub(super) const THREADS_MAX: usize = 32_768;

/// `/proc/PID/status`, the fields used here. What a kernel does not tell is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) name: String,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`; `?` when untold.
    pub(super) state: char,
    /// The process of a thread.
    pub(super) process: u32,
    pub(super) parent: u32,
    /// The tracing thread; zero without one.
    pub(super) tracer: u32,
    /// Real, effective, saved, of the file system.
    pub(super) uids: [u32; 4],
    pub(super) gids: [u32; 4],
    pub(super) seccomp: u32,
    pub(super) cap_permitted: u64,
    pub(super) cap_effective: u64,
    pub(super) rss_anon_bytes: u64,
    pub(super) data_bytes: u64,
    pub(super) page_table_bytes: u64,
    /// The pid in the innermost pid namespace it lives in.
    pub(super) innermost_pid: u32,
}

impl Status {
    pub(super) fn parse(text: &str) -> Self {
        let mut status = Self {
            state: '?',
            ..Self::default()
        };
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key {
                "Name" => status.name = value.chars().take(64).collect(),
                "State" => status.state = value.chars().next().unwrap_or('?'),
                "Tgid" => status.process = number(value),
                "PPid" => status.parent = number(value),
                "TracerPid" => status.tracer = number(value),
                "Uid" => status.uids = four(value),
                "Gid" => status.gids = four(value),
                "Seccomp" => status.seccomp = number(value),
                "CapPrm" => status.cap_permitted = u64::from_str_radix(value, 16).unwrap_or(0),
                "CapEff" => status.cap_effective = u64::from_str_radix(value, 16).unwrap_or(0),
                "RssAnon" => status.rss_anon_bytes = kib(value),
                "VmData" => status.data_bytes = kib(value),
                "VmPTE" => status.page_table_bytes = kib(value),
                "NSpid" => status.innermost_pid = number(value.rsplit('\t').next().unwrap_or("")),
                _ => {}
            }
        }
        status
    }

    pub(super) fn of(pid: u32) -> Result<Self, StopError> {
        read(pid, &format!("/proc/{pid}/status")).map(|text| Self::parse(&text))
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// `/proc/PID/stat`, the fields used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: char,
    pub(super) parent: u32,
    /// The signal that the parent gets when it ends; zero for a clone of ours.
    pub(super) exit_signal: i32,
}

impl Stat {
    /// The name stands in brackets and may itself hold brackets and spaces; so fields count from the last one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            exit_signal: fields.get(35)?.parse().ok()?,
        })
    }
}

/// The threads of `pid`, in the kernel's order.
pub(super) fn threads(pid: u32) -> Result<Vec<u32>, StopError> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).map_err(|source| of_read(pid, &path, source))?;
    let mut threads = Vec::new();
    for entry in entries.flatten() {
        threads.extend(
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
        if threads.len() > THREADS_MAX {
            return Err(StopError::TooManyThreads {
                pid,
                threads: threads.len(),
                max: THREADS_MAX,
            });
        }
    }
    Ok(threads)
}

/// The state letter of one thread; `X` when it is gone.
pub(super) fn thread_state(pid: u32, tid: u32) -> char {
    fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat"))
        .ok()
        .and_then(|text| Stat::parse(&text))
        .map_or('X', |stat| stat.state)
}

/// A file of `/proc/PID`; a process that is not there is told apart from a file that may not be read.
pub(super) fn read(pid: u32, path: &str) -> Result<String, StopError> {
    fs::read_to_string(path).map_err(|source| of_read(pid, path, source))
}

fn of_read(pid: u32, path: &str, source: io::Error) -> StopError {
    let esrch = source.raw_os_error() == Some(nix::Error::ESRCH as i32);
    if source.kind() == io::ErrorKind::NotFound || esrch {
        return StopError::NoProcess { pid };
    }
    StopError::Read {
        path: path.to_owned(),
        source,
    }
}

fn number(value: &str) -> u32 {
    value.trim().parse().unwrap_or(0)
}

/// `12 kB` in bytes.
pub(super) fn kib(value: &str) -> u64 {
    let number = value.trim().trim_end_matches("kB").trim();
    number.parse::<u64>().unwrap_or(0).saturating_mul(1024)
}

fn four(value: &str) -> [u32; 4] {
    let mut numbers = value.split_whitespace().map(number);
    std::array::from_fn(|_| numbers.next().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_field_by_field() {
        let text = "Name:\tserver: api\nState:\tS (sleeping)\nPPid:\t1\nTracerPid:\t77\nUid:\t1000\t1001\t1002\t1003\n\
                    Gid:\t5\t6\t7\t8\nNSpid:\t4121\t7\nVmData:\t  100 kB\nRssAnon:\t    20 kB\nVmPTE:\t     4 kB\n\
                    CapPrm:\t0000000000080000\nCapEff:\t000001fffeffffff\nSeccomp:\t2\nno colon\n";
        let status = Status::parse(text);
        assert_eq!(status.name, "server: api");
        assert_eq!((status.state, status.parent, status.tracer), ('S', 1, 77));
        assert_eq!(status.uids, [1000, 1001, 1002, 1003]);
        assert_eq!(status.gids, [5, 6, 7, 8]);
        assert_eq!((status.innermost_pid, status.seccomp), (7, 2));
        assert_eq!(status.cap_permitted, 1 << 19);
        assert_eq!(
            (
                status.data_bytes,
                status.rss_anon_bytes,
                status.page_table_bytes
            ),
            (102_400, 20_480, 4096)
        );
        assert_eq!(Status::parse("").state, '?');
        assert_eq!(
            Status::parse("Uid:\t1").uids,
            [1, u32::MAX, u32::MAX, u32::MAX]
        );
    }

    #[test]
    fn a_stat_counts_from_behind_the_name() {
        // State, parent, and 33 more before the exit signal.
        let tail = format!("S 7 {}", ["0"; 33].join(" "));
        let rows = [
            ("plain", format!("5 (a) {tail} 17 1 0"), Some(17)),
            (
                "brackets in the name",
                format!("5 (a) b) {tail} 0 1"),
                Some(0),
            ),
            ("a future signal", format!("5 (a) {tail} -1 1"), Some(-1)),
            ("cut", format!("5 (a) {tail}"), None),
            ("no name", "5 S 7".to_owned(), None),
            ("empty", String::new(), None),
        ];
        for (name, text, want) in rows {
            let stat = Stat::parse(&text);
            assert_eq!(stat.map(|stat| stat.exit_signal), want, "{name}");
            if let Some(stat) = stat {
                assert_eq!((stat.state, stat.parent), ('S', 7), "{name}");
            }
        }
    }

    #[test]
    fn our_own_threads_are_listed_and_a_missing_process_is_named() {
        let us = std::process::id();
        assert!(threads(us).unwrap().contains(&us));
        assert_ne!(thread_state(us, us), 'X');
        assert!(matches!(
            threads(u32::MAX),
            Err(StopError::NoProcess { pid: u32::MAX })
        ));
        assert!(matches!(
            Status::of(u32::MAX),
            Err(StopError::NoProcess { .. })
        ));
    }
}

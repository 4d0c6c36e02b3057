//! The text files of `/proc`, as pure functions over bytes.
//!
//! Formats: proc(5) and Documentation/filesystems/proc.rst of the Linux source. Where the kernel
//! writes `kB` it means 1024 bytes; these functions hand out bytes. A process chooses its own name,
//! arguments and environment, so those are hostile.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::answers::GoEnv;

/// What we use of `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The name, as bytes made text; it may hold anything, parentheses and newlines included.
    pub(crate) comm: String,
    /// `R`, `S`, `D`, `Z`, `X` and so on.
    pub(crate) state: u8,
    pub(crate) ppid: u32,
    /// User and system time.
    pub(crate) cpu_ticks: u64,
    /// Since boot.
    pub(crate) start_ticks: u64,
    /// Which `exec` of the process this is, as far as that can be told.
    pub(crate) exec: Exec,
    /// As `wait` would tell it, once it has ended; 0 also for those who may not know.
    pub(crate) exit_code: u32,
}

/// Where code and stack begin and code ends: other addresses after each `exec`, since the kernel
/// randomizes them; with that switched off they are equal only for an executable of the same shape.
/// Zeros for a process that we may not look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Exec {
    code: (u64, u64),
    stack: u64,
}

impl Stat {
    /// It has ended, and its parent has not been told yet.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads `/proc/PID/stat`. The name ends at the last `)`, because only the name can contain one.
pub(crate) fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|&b| b == b'(')?;
    let close = bytes.iter().rposition(|&b| b == b')')?;
    let comm = bytes.get(open + 1..close)?;
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    // Field 3, the state, is the first of the rest.
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let ppid = fields.next()?.parse().ok()?;
    let mut fields = fields.skip(9); // to field 14
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(6)?.parse().ok()?; // field 22
    let mut address = |skip| fields.nth(skip).and_then(|text: &str| text.parse().ok());
    let exec = Exec {
        code: (address(3).unwrap_or(0), address(0).unwrap_or(0)), // fields 26 and 27
        stack: address(0).unwrap_or(0),
    };
    let exit_code = fields.nth(23).and_then(|text| text.parse().ok()); // field 52
    Some(Stat {
        comm: String::from_utf8_lossy(comm).into_owned(),
        state,
        ppid,
        cpu_ticks: utime.saturating_add(stime),
        start_ticks,
        exec,
        exit_code: exit_code.unwrap_or(0),
    })
}

/// What we use of `/proc/PID/status`; figures that the kernel leaves out (it has no memory any
/// more) are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub(crate) euid: Option<u32>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) anon_bytes: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    pub(crate) shmem_bytes: Option<u64>,
    pub(crate) swap_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
}

/// Reads `/proc/PID/status`. The kernel escapes newlines in the name there, so lines are lines; a
/// field that does not have its known form is left out.
pub(crate) fn parse_status(bytes: &[u8]) -> Status {
    let mut status = Status::default();
    for (name, value) in lines_of(bytes) {
        match name {
            b"Uid" => status.euid = words(value).nth(1).and_then(number),
            b"VmRSS" => status.rss_bytes = kib(value),
            b"RssAnon" => status.anon_bytes = kib(value),
            b"RssFile" => status.file_bytes = kib(value),
            b"RssShmem" => status.shmem_bytes = kib(value),
            b"VmSwap" => status.swap_bytes = kib(value),
            b"Threads" => status.threads = words(value).next().and_then(number),
            _ => {}
        }
    }
    status
}

/// `MemTotal` and `MemAvailable` of `/proc/meminfo`, in bytes.
pub(crate) fn parse_meminfo(bytes: &[u8]) -> (Option<u64>, Option<u64>) {
    let mut found = (None, None);
    for (name, value) in lines_of(bytes) {
        match name {
            b"MemTotal" => found.0 = kib(value),
            b"MemAvailable" => found.1 = kib(value),
            _ => {}
        }
    }
    found
}

/// A listening socket: its inode and its address.
pub(crate) type Listener = (u64, SocketAddr);

/// One row of `/proc/PID/net/tcp` or `tcp6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpRow {
    Listening(Listener),
    Other,
}

/// Reads one row; `None` for the heading and for what is no row.
pub(crate) fn parse_tcp_row(line: &[u8]) -> Option<TcpRow> {
    const LISTEN: &[u8] = b"0A";
    let mut words = words(line);
    let slot = words.next()?;
    if slot.last() != Some(&b':') {
        return None;
    }
    let local = words.next()?;
    let state = words.nth(1)?;
    if state != LISTEN {
        return Some(TcpRow::Other);
    }
    let inode = words.nth(5).and_then(number)?;
    Some(TcpRow::Listening((inode, parse_address(local)?)))
}

/// `0100007F:1F90` is 127.0.0.1:8080: the address as words in the machine's order, the port as a
/// number.
fn parse_address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok().filter(|t| t.is_ascii())?;
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The three variables we read out of `/proc/PID/environ`, each at most 1 KiB long. Of several
/// with one name the first counts, as in Go's runtime.
pub(crate) fn parse_environ(bytes: &[u8]) -> GoEnv {
    const VALUE_BYTES_MAX: usize = 1024;
    let mut env = GoEnv::default();
    for entry in bytes.split(|&b| b == 0) {
        let Some(equals) = entry.iter().position(|&b| b == b'=') else {
            continue;
        };
        let (name, value) = (&entry[..equals], &entry[equals + 1..]);
        let slot = match name {
            b"GOGC" => &mut env.gogc,
            b"GOMEMLIMIT" => &mut env.gomemlimit,
            b"GODEBUG" => &mut env.godebug,
            _ => continue,
        };
        if slot.is_none() {
            let value = &value[..value.len().min(VALUE_BYTES_MAX)];
            *slot = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    env
}

/// The soft limit of a thread's stack in `/proc/PID/limits`: what glibc gives to threads. `None`
/// where there is none.
pub(crate) fn parse_stack_limit(bytes: &[u8]) -> Option<u64> {
    let mut lines = bytes.split(|&b| b == b'\n');
    let values = lines.find_map(|line| line.strip_prefix(b"Max stack size"))?;
    words(values).next().and_then(number)
}

/// The inode in a descriptor's link, such as `socket:[12345]`.
pub(crate) fn parse_socket_link(link: &[u8]) -> Option<u64> {
    number(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

/// An executable's link: the path, and whether the kernel says that its file is gone.
pub(crate) fn parse_exe_link(link: &[u8]) -> (String, bool) {
    match link.strip_suffix(b" (deleted)") {
        Some(path) => (String::from_utf8_lossy(path).into_owned(), true),
        None => (String::from_utf8_lossy(link).into_owned(), false),
    }
}

/// The first argument of `/proc/PID/cmdline`; empty for kernel threads and ended processes.
pub(crate) fn first_argument(cmdline: &[u8]) -> &[u8] {
    cmdline.split(|&b| b == 0).next().unwrap_or(b"")
}

/// `Name: value` lines.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    bytes.split(|&b| b == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        Some((&line[..colon], &line[colon + 1..]))
    })
}

/// Words between blanks.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// A decimal number without sign.
pub(crate) fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    if !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// `<number> kB`, as bytes.
fn kib(value: &[u8]) -> Option<u64> {
    let mut words = words(value);
    let number: u64 = words.next().and_then(number)?;
    if words.next() != Some(b"kB") {
        return None;
    }
    number.checked_mul(1024)
}

pub(crate) fn fuzz_one(bytes: &[u8]) {
    let _ = parse_stat(bytes);
    let _ = parse_status(bytes);
    let _ = parse_meminfo(bytes);
    let _ = parse_environ(bytes);
    let _ = parse_socket_link(bytes);
    let _ = parse_exe_link(bytes);
    let _ = parse_stack_limit(bytes);
    for line in bytes.split(|&b| b == b'\n') {
        let _ = parse_tcp_row(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: &str = "S 7 1 1 0 -1 4194560 10 20 30 40 50 60 70 80 20 0 5 0 4711 1000 200 \
                        18446744073709551615 1 1 0 0 0";

    fn stat(comm: &str) -> Vec<u8> {
        format!("42 ({comm}) {TAIL}\n").into_bytes()
    }

    #[test]
    fn stat_rows() {
        for (name, comm) in [
            ("plain", "server"),
            ("parentheses", "a) R 1 (b"),
            ("newline", "x\n42 (y) Z 1"),
            ("empty", ""),
            ("blanks", "  "),
        ] {
            let stat = parse_stat(&stat(comm)).expect(name);
            assert_eq!(stat.comm, comm, "{name}");
            assert_eq!((stat.state, stat.ppid), (b'S', 7), "{name}");
            assert_eq!(
                (stat.cpu_ticks, stat.start_ticks),
                (50 + 60, 4711),
                "{name}"
            );
        }
        let max = u64::MAX;
        let rows: [(&str, String); 6] = [
            ("nothing", String::new()),
            ("no name", format!("42 {TAIL}")),
            ("name not closed", "42 (x S 7".into()),
            ("closed before it opens", "42 )x( S 7".into()),
            (
                "cut before the start",
                "42 (x) S 7 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 5 0".into(),
            ),
            ("past u64", stat_with_start("99999999999999999999")),
        ];
        for (name, row) in rows {
            assert_eq!(parse_stat(row.as_bytes()), None, "{name}");
        }
        let row = stat_with_start(&max.to_string());
        assert_eq!(parse_stat(row.as_bytes()).map(|s| s.start_ticks), Some(max));
        assert!(
            parse_stat(b"1 (x) Z 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1")
                .unwrap()
                .has_ended()
        );
    }

    fn stat_with_start(start: &str) -> String {
        format!("42 (x) {}", TAIL.replace("4711", start))
    }

    #[test]
    fn status_rows() {
        let text = b"Name:\tx\nUid:\t1000\t1001\t1002\t1003\nVmRSS:\t  2048 kB\nRssAnon:\t 1024 kB\n\
                     RssFile:\t 1000 kB\nRssShmem:\t   24 kB\nVmSwap:\t    0 kB\nThreads:\t9\nNew:\t1\n";
        let status = parse_status(text);
        assert_eq!(status.euid, Some(1001));
        assert_eq!(status.rss_bytes, Some(2 << 20));
        assert_eq!(status.anon_bytes, Some(1 << 20));
        assert_eq!(status.shmem_bytes, Some(24 << 10));
        assert_eq!((status.swap_bytes, status.threads), (Some(0), Some(9)));
        for (name, text) in [
            ("other unit", &b"VmRSS: 4 MB"[..]),
            ("no unit", b"VmRSS: 4"),
            ("past u64 bytes", b"VmRSS: 18446744073709551615 kB"),
            ("negative", b"VmRSS: -4 kB"),
            ("no value", b"VmRSS:"),
            ("a name that plays a field", b"Name:\tx\\nVmRSS: 4 kB"),
            ("nothing", b""),
        ] {
            assert_eq!(parse_status(text).rss_bytes, None, "{name}");
        }
    }

    #[test]
    fn tcp_rows() {
        let listening = |inode, text: &str| Some(TcpRow::Listening((inode, text.parse().unwrap())));
        let rows: [(&str, &[u8], Option<TcpRow>); 8] = [
            (
                "heading",
                b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid",
                None,
            ),
            (
                "IPv4",
                b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0",
                listening(12345, "127.0.0.1:8080"),
            ),
            (
                "IPv6",
                b"   1: 00000000000000000000000001000000:17AC 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 77 1",
                listening(77, "[::1]:6060"),
            ),
            (
                "established",
                b"   2: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000 0 0 5 1",
                Some(TcpRow::Other),
            ),
            ("cut", b"   3: 0100007F:1F90 00000000:0000 0A 00000000", None),
            (
                "odd address",
                b"   4: 01007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 5 1",
                None,
            ),
            (
                "inode past u64",
                b"   5: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 99999999999999999999999 1",
                None,
            ),
            ("not text", b"   6: \xff\xff:\xff 0:0 0A 0 0 0 0 0 5", None),
        ];
        for (name, line, expected) in rows {
            assert_eq!(parse_tcp_row(line), expected, "{name}");
        }
    }

    #[test]
    fn only_three_variables_leave_an_environment() {
        let env = parse_environ(
            b"SECRET=1\0GOGC=50\0GOGC=60\0GOMEMLIMIT=\0XGODEBUG=no\0noequals\0GODEBUG=a=b",
        );
        assert_eq!(env.gogc.as_deref(), Some("50"), "the first counts");
        assert_eq!(env.gomemlimit.as_deref(), Some(""));
        assert_eq!(env.godebug.as_deref(), Some("a=b"));
        let mut long = b"GOGC=".to_vec();
        long.resize(1 << 20, b'9');
        assert_eq!(parse_environ(&long).gogc.unwrap().len(), 1024);
    }

    #[test]
    fn links_and_arguments() {
        assert_eq!(parse_socket_link(b"socket:[12]"), Some(12));
        for link in [
            &b"pipe:[12]"[..],
            b"socket:[x]",
            b"socket:[12",
            b"/socket:[1]",
        ] {
            assert_eq!(parse_socket_link(link), None);
        }
        assert_eq!(parse_exe_link(b"/a b"), ("/a b".into(), false));
        assert_eq!(parse_exe_link(b"/a (deleted)"), ("/a".into(), true));
        assert_eq!(first_argument(b"/bin/x\0-v\0"), b"/bin/x");
        assert_eq!(first_argument(b""), b"");
        let limits =
            b"Limit  Soft Limit  Hard Limit  Units\nMax stack size   8388608   unlimited   bytes\n";
        assert_eq!(parse_stack_limit(limits), Some(8 << 20));
        assert_eq!(
            parse_stack_limit(b"Max stack size   unlimited  unlimited  bytes\n"),
            None
        );
        assert_eq!(
            parse_meminfo(b"MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable: 4 kB\n"),
            (Some(8192), Some(4096))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            crate::fuzz_one(&bytes);
        }

        #[test]
        fn any_name_is_told_from_the_fields(comm in "[ -~\n]{0,15}") {
            prop_assert_eq!(parse_stat(&stat(&comm)).unwrap().comm, comm);
        }
    }
}

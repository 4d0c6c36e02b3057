//! Listening TCP sockets, by network namespace: `/proc/PID/net/tcp` and `tcp6`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use model::Clock;

use crate::answers::ReadFailure;
use crate::proc_dir::ProcDir;
use crate::procfs::{self, TcpRow};

/// Bytes read of one table: 25,000 rows.
const TABLE_BYTES_MAX: usize = 4 << 20;

/// One read; seq_file hands out at most so much at once.
const CHUNK_BYTES: usize = 4096;

/// Longer than any row: a read that leaves so much room was the last one.
const ROW_BYTES_MAX: usize = 512;

/// The kernel lists listening sockets first. After so many others in a row there are no more: a
/// host with a million connections is not read to its end.
const OTHERS_MAX: usize = 8;

/// Where there are few connections the kernel goes through its whole, mostly empty table of them,
/// 1.5 ms on a machine of 24 GB. So reading takes at most this part of our time...
const DUTY: u32 = 1000;
/// ...and is never put off longer than this.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Network namespaces remembered.
const NAMESPACES_MAX: usize = 1024;

/// Listening sockets of one network namespace, by inode.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) by_inode: HashMap<u64, SocketAddr>,
    /// Changes when the set changes.
    pub(crate) signature: u64,
    read_at: Duration,
    good_until: Duration,
}

/// The tables that were read, by the namespace's inode.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(HashMap<u64, Rc<Listeners>>);

impl Namespaces {
    /// The listeners of the network namespace that `process` lives in, read no earlier than
    /// `since`, and again when the old answer's time is over.
    pub(crate) fn listeners_of(
        &mut self,
        namespace: u64,
        process: &ProcDir,
        since: Option<Duration>,
        clock: &dyn Clock,
    ) -> Result<Rc<Listeners>, ReadFailure> {
        let start = clock.monotonic();
        if let Some(known) = self.0.get(&namespace)
            && start < known.good_until
            && since.is_none_or(|since| known.read_at >= since)
        {
            return Ok(Rc::clone(known));
        }
        let mut by_inode = HashMap::new();
        for table in ["net/tcp", "net/tcp6"] {
            match process.open_file(table) {
                Ok(file) => read_table(file, &mut by_inode),
                // No IPv6 here.
                Err(ReadFailure::Gone) if table == "net/tcp6" => {}
                Err(failure) => return Err(failure),
            }
        }
        let end = clock.monotonic();
        let listeners = Rc::new(Listeners {
            signature: signature(&by_inode),
            by_inode,
            read_at: start,
            good_until: end + (end.saturating_sub(start) * DUTY).min(AGE_MAX),
        });
        if self.0.len() >= NAMESPACES_MAX {
            self.0.retain(|_, known| start < known.good_until);
        }
        if self.0.len() < NAMESPACES_MAX {
            self.0.insert(namespace, Rc::clone(&listeners));
        }
        Ok(listeners)
    }
}

/// Reads rows until the listening ones end. A table cut short by an error still tells of the
/// sockets before.
fn read_table(mut file: impl Read, found: &mut HashMap<u64, SocketAddr>) {
    let mut chunk = [0; CHUNK_BYTES];
    let mut rest: Vec<u8> = Vec::new();
    let (mut others, mut total) = (0, 0);
    while total < TABLE_BYTES_MAX {
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        total += read;
        rest.extend_from_slice(&chunk[..read]);
        let whole = rest
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        for line in rest[..whole].split(|&b| b == b'\n') {
            match procfs::parse_tcp_row(line) {
                Some(TcpRow::Listening((inode, address))) => {
                    found.insert(inode, address);
                    others = 0;
                }
                Some(TcpRow::Other) => others += 1,
                None => {}
            }
            if others >= OTHERS_MAX {
                return;
            }
        }
        rest.drain(..whole);
        // One more read would only find the end, at the price of one more walk over the table.
        if read + ROW_BYTES_MAX <= CHUNK_BYTES {
            break;
        }
    }
}

/// Independent of the order of rows.
fn signature(sockets: &HashMap<u64, SocketAddr>) -> u64 {
    sockets.iter().fold(0, |sum: u64, row| {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        sum.wrapping_add(hasher.finish())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::net::TcpListener;

    fn row(slot: usize, state: &str, inode: usize) -> String {
        format!(
            "{slot:4}: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
        )
    }

    #[test]
    fn reading_ends_after_the_listening_rows() {
        let mut text = "  sl  local_address rem_address   st\n".to_owned();
        text += &row(0, "0A", 11);
        (0..OTHERS_MAX - 1).for_each(|at| text += &row(at, "01", 5));
        text += &row(1, "0A", 12);
        (0..100).for_each(|at| text += &row(at, "0A", 100 + at));
        (0..OTHERS_MAX).for_each(|at| text += &row(at, "01", 5));
        text += &row(2, "0A", 13);
        let mut found = HashMap::new();
        read_table(text.as_bytes(), &mut found);
        let mut inodes: Vec<u64> = found.keys().copied().collect();
        inodes.sort_unstable();
        let expected: Vec<u64> = [11, 12].into_iter().chain(100..200).collect();
        assert_eq!(
            inodes, expected,
            "over several reads, and none after the others"
        );
    }

    #[test]
    fn our_own_listeners_and_their_signature() {
        let ours = ProcDir::open(std::process::id()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut namespaces = Namespaces::default();
        let clock = SystemClock;
        let before = namespaces.listeners_of(1, &ours, None, &clock).unwrap();
        assert!(before.by_inode.values().any(|found| *found == address));
        drop(listener);
        let now = Some(clock.monotonic());
        let after = namespaces.listeners_of(1, &ours, now, &clock).unwrap();
        assert!(!after.by_inode.values().any(|found| *found == address));
        assert_ne!(before.signature, after.signature);
    }
}

//! Listening TCP sockets, by network namespace: `/proc/PID/net/tcp` and `tcp6`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::rc::Rc;

use crate::answers::ReadFailure;
use crate::proc_dir::ProcDir;
use crate::procfs::{self, TcpRow};

/// Bytes read of one table: 25,000 rows.
const TABLE_BYTES_MAX: u64 = 4 << 20;

/// The kernel lists listening sockets first. After so many others in a row there are no more: a
/// host with a million connections is not read to its end.
const OTHERS_MAX: usize = 64;

/// Listening sockets of one network namespace, by inode.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) by_inode: HashMap<u64, SocketAddr>,
    /// Changes when the set changes.
    pub(crate) signature: u64,
}

/// The tables that one discovery has read, by the namespace's inode.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(HashMap<u64, Rc<Listeners>>);

impl Namespaces {
    /// The listeners of the network namespace that `process` lives in.
    pub(crate) fn listeners_of(
        &mut self,
        namespace: u64,
        process: &ProcDir,
    ) -> Result<Rc<Listeners>, ReadFailure> {
        if let Some(known) = self.0.get(&namespace) {
            return Ok(Rc::clone(known));
        }
        let mut listeners = Listeners::default();
        for table in ["net/tcp", "net/tcp6"] {
            match process.open_file(table) {
                Ok(file) => read_table(file, &mut listeners.by_inode),
                // No IPv6 here.
                Err(ReadFailure::Gone) if table == "net/tcp6" => {}
                Err(failure) => return Err(failure),
            }
        }
        listeners.signature = signature(&listeners.by_inode);
        let listeners = Rc::new(listeners);
        self.0.insert(namespace, Rc::clone(&listeners));
        Ok(listeners)
    }
}

fn read_table(file: impl Read, found: &mut HashMap<u64, SocketAddr>) {
    let mut others = 0;
    let mut line = Vec::with_capacity(256);
    let mut rows = BufReader::with_capacity(16 << 10, file.take(TABLE_BYTES_MAX));
    while others < OTHERS_MAX {
        line.clear();
        // A table cut short by an error still tells of the sockets before.
        if !matches!(rows.read_until(b'\n', &mut line), Ok(1..)) {
            break;
        }
        match procfs::parse_tcp_row(&line) {
            Some(TcpRow::Listening((inode, address))) => {
                found.insert(inode, address);
                others = 0;
            }
            Some(TcpRow::Other) => others += 1,
            None => {}
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
        (0..OTHERS_MAX).for_each(|at| text += &row(at, "01", 5));
        text += &row(2, "0A", 13);
        let mut found = HashMap::new();
        read_table(text.as_bytes(), &mut found);
        let mut inodes: Vec<u64> = found.keys().copied().collect();
        inodes.sort_unstable();
        assert_eq!(inodes, [11, 12]);
    }

    #[test]
    fn our_own_listeners_and_their_signature() {
        let ours = ProcDir::open(std::process::id()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let before = Namespaces::default().listeners_of(1, &ours).unwrap();
        assert!(before.by_inode.values().any(|found| *found == address));
        drop(listener);
        let after = Namespaces::default().listeners_of(1, &ours).unwrap();
        assert!(!after.by_inode.values().any(|found| *found == address));
        assert_ne!(before.signature, after.signature);
    }
}

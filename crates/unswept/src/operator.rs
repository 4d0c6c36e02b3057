//! How the watcher knows its operator: a token in a file, for browsers and programs, and a socket for
//! our own commands. Both lie in the data directory, which only the watcher's user may enter.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use tokio::net::UnixListener;

const TOKEN_FILE: &str = "operator-token";
/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "unswept.sock";
/// Bytes of randomness in a token; it is written in hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// The operator's token; it is made once, and changes when its file is removed.
pub(crate) fn token(data: &Path) -> anyhow::Result<web::Operator> {
    let path = data.join(TOKEN_FILE);
    let failed = || {
        format!(
            "failed to read or make the operator's token {}",
            path.display()
        )
    };
    let kept = match fs::read_to_string(&path) {
        Ok(text) => Some(text.trim().to_owned()).filter(|text| is_token(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(failed),
    };
    let token = match kept {
        Some(token) => token,
        None => make_token(&path).with_context(failed)?,
    };
    Ok(web::Operator::Token {
        token,
        file: path.display().to_string(),
    })
}

fn is_token(text: &str) -> bool {
    text.len() == 2 * TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn make_token(path: &Path) -> io::Result<String> {
    let mut random = [0; TOKEN_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // What is no token may have other permissions: it does not stay.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut open = OpenOptions::new();
    let mut file = open.write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    Ok(token)
}

/// Listens for our own commands. The store's lock is held: a socket that is there is a dead one's.
pub(crate) fn listen(data: &Path) -> anyhow::Result<UnixListener> {
    let path = data.join(SOCKET);
    let failed = || {
        format!(
            "failed to listen on {} (a socket's path has at most 107 characters: choose a shorter \
             --data if it is longer)",
            path.display()
        )
    };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(failed);
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(failed)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).with_context(failed)?;
    Ok(listener)
}

/// Takes the socket away at a clean end: nobody answers there any more.
pub(crate) fn leave(data: &Path) {
    // What stays is known as dead by whoever tries it.
    let _ = fs::remove_file(data.join(SOCKET));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(operator: web::Operator) -> String {
        match operator {
            web::Operator::Token { token, .. } => token,
            web::Operator::Anybody => String::new(),
        }
    }

    #[test]
    fn a_token_is_made_once_and_is_for_its_user_alone() {
        let data = tempfile::tempdir().unwrap();
        let first = token_of(token(data.path()).unwrap());
        assert!(is_token(&first), "{first}");
        assert_eq!(token_of(token(data.path()).unwrap()), first);
        let path = data.path().join(TOKEN_FILE);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        for torn in ["", "abc\n"] {
            fs::write(&path, torn).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            let next = token_of(token(data.path()).unwrap());
            assert!(is_token(&next) && next != first, "{next}");
            assert_eq!(mode(&path), 0o600);
        }
    }

    #[tokio::test]
    async fn a_dead_ones_socket_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        drop(listen(data.path()).unwrap());
        assert!(data.path().join(SOCKET).exists());
        let _listener = listen(data.path()).unwrap();
        let path = data.path().join(SOCKET);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        leave(data.path());
        assert!(!data.path().join(SOCKET).exists());
    }
}

//! Where an answer goes: standard output, or a file that only its owner can read, because memory of somebody else's
//! process is in it.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::terminal;

/// Writes `text` to `file`, or to standard output, as it comes: a dump of a million goroutines is never held whole.
pub(crate) fn text(file: Option<&Path>, text: &dyn Display) -> anyhow::Result<()> {
    match file {
        Some(file) => write(file, |out| write!(out, "{text}")),
        None => terminal::data(text),
    }
}

/// Writes `bytes`, which no terminal can show.
pub(crate) fn bytes(file: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(file) = file {
        return write(file, |out| out.write_all(bytes));
    }
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        bail!("a pprof file is nothing for a terminal: name a file with --output FILE, or a pipe");
    }
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("failed to write to standard output"),
    }
}

/// A document as text with a line's end.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("failed to write JSON")?;
    text.push('\n');
    Ok(text)
}

/// A file is there whole or not at all: what was there before stays until the new one is complete. Anything that is
/// no plain file, as a pipe, is written to as it is.
fn write(file: &Path, fill: impl Fn(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let filled = |opened: File| {
        let mut out = BufWriter::new(opened);
        fill(&mut out)?;
        out.flush()
    };
    let failed = || format!("failed to write {}", file.display());
    if fs::metadata(file).is_ok_and(|data| !data.is_file()) {
        let opened = OpenOptions::new().write(true).open(file);
        return opened.and_then(filled).with_context(failed);
    }
    let name = file.file_name().with_context(failed)?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".{}.part", std::process::id()));
    let part = file.with_file_name(part);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options
        .open(&part)
        .and_then(filled)
        .and_then(|()| fs::rename(&part, file));
    if written.is_err() {
        // Nothing more can be done when even that fails.
        let _ = fs::remove_file(&part);
    }
    written.with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heap.pb.gz");
        fs::write(&file, "an older and longer one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        bytes(Some(&file), b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no part is left"
        );

        let missing = folder.path().join("no/such/folder");
        let error = bytes(Some(&missing), b"x").unwrap_err().to_string();
        assert!(error.contains("no/such/folder"), "{error}");
        bytes(Some(Path::new("/dev/null")), b"x").unwrap();
    }
}

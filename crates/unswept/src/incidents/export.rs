//! `unswept incidents export`: an incident as a folder or an archive, and people's marks as lines of
//! JSON with the series that they are about.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use model::{Answer, AnswerSort, Incident, Said};
use ruzstd::encoding::{CompressionLevel, compress};
use serde_json::{Value, json};

use super::args::Export;
use super::window::{Source, Window};
use super::{Found, data_of, report};
use crate::{setup, terminal};

/// The name and version of a line of labelled data.
const LABEL_SCHEMA: &str = "unswept/label/1";

pub(super) fn run(arguments: &Export) -> anyhow::Result<()> {
    let data = data_of(arguments.data.as_deref())?;
    let folder = data.join("incidents");
    let found = Found::read(&folder)?;
    let output = &arguments.output;
    let runtime = setup::runtime()?;
    let Some(id) = &arguments.id else {
        return runtime.block_on(labels(&data, &found, output));
    };
    let incident = found.one(id, &folder)?;
    runtime.block_on(one(&data, &folder, incident, output))
}

async fn one(data: &Path, folder: &Path, incident: &Incident, output: &Path) -> anyhow::Result<()> {
    let series = Source::of(data).await?.series(incident).await?;
    let failed = || format!("failed to write {}", output.display());
    let mut sink = Sink::create(output, &incident.id.0).with_context(failed)?;
    let written = fill(&mut sink, folder, incident, &series);
    let written = written.and_then(|missing| sink.finish().map(|()| missing));
    let missing = written
        .inspect_err(|_| remove(output))
        .with_context(failed)?;
    for name in missing {
        terminal::note(format!("{name} is gone or not what was stored: left out"));
    }
    terminal::data(&format!(
        "{}: written to {}\n",
        incident.id,
        output.display()
    ))
}

/// Writes everything, one file at a time; names the evidence that could not be read.
fn fill(
    sink: &mut Sink,
    folder: &Path,
    incident: &Incident,
    series: &[Value],
) -> std::io::Result<Vec<String>> {
    sink.put("manifest.json", &serde_json::to_vec_pretty(incident)?)?;
    let mut missing = Vec::new();
    let own = folder.join(&incident.id.0);
    for file in &incident.evidence {
        match store::read_evidence_file(&own, file) {
            Ok(Some(bytes)) => sink.put(&file.name, &bytes)?,
            Ok(None) | Err(_) => missing.push(file.name.clone()),
        }
    }
    sink.put("series.jsonl", &lines(series)?)?;
    sink.put("report.html", report::html(incident, folder).as_bytes())?;
    Ok(missing)
}

/// The marks of all incidents, a line each.
async fn labels(data: &Path, found: &Found, output: &Path) -> anyhow::Result<()> {
    let marked = found.incidents.iter().filter_map(|incident| {
        let said = incident.said(AnswerSort::Mark)?;
        Some((incident, said))
    });
    let source = Source::of(data).await?;
    let failed = || format!("failed to write {}", output.display());
    let mut file = BufWriter::new(create(output).with_context(failed)?);
    let mut count = 0;
    for (incident, said) in marked {
        let line = match source.series(incident).await {
            Ok(series) => label(incident, said, series),
            Err(error) => {
                remove(output);
                return Err(error);
            }
        };
        let written = serde_json::to_writer(&mut file, &line).map_err(Into::into);
        let written = written.and_then(|()| file.write_all(b"\n"));
        written
            .inspect_err(|_| remove(output))
            .with_context(failed)?;
        count += 1;
    }
    let flushed = file.flush().inspect_err(|_| remove(output));
    flushed.with_context(failed)?;
    let incidents = if count == 1 { "incident" } else { "incidents" };
    terminal::data(&format!(
        "{count} marked {incidents}: written to {}\n",
        output.display()
    ))
}

fn label(incident: &Incident, said: &Said, series: Vec<Value>) -> Value {
    let (label, ceiling_bytes) = match &said.answer {
        Answer::Expected { ceiling_bytes, .. } => ("expected", Some(*ceiling_bytes)),
        Answer::FalseAlarm => ("false-alarm", None),
        _ => ("leak", None),
    };
    json!({
        "schema": LABEL_SCHEMA,
        "incident": incident.id,
        "workload": incident.workload,
        "revision": incident.revision,
        "kind": incident.kind,
        "culprit": incident.culprit,
        "label": label,
        "ceiling_bytes": ceiling_bytes,
        "by": said.by,
        "at": said.at.rfc3339(),
        "note": said.note,
        "onset": incident.onset.map(model::UnixMs::rfc3339),
        "window": Window::of(incident),
        "verdict": incident.verdict,
        "series": series,
    })
}

fn lines(series: &[Value]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for one in series {
        serde_json::to_writer(&mut bytes, one)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Where an incident is written.
enum Sink {
    Folder(PathBuf),
    Gzip(Box<tar::Builder<GzEncoder<File>>>, String),
    /// The archive as it is, which is compressed at the end, and where that goes.
    Zstd(tar::Builder<File>, String, File),
}

impl Sink {
    /// As the ending of `output` says; an archive has everything in the folder `name`.
    fn create(output: &Path, name: &str) -> std::io::Result<Self> {
        let ending = output.to_string_lossy();
        if ending.ends_with(".tar.gz") || ending.ends_with(".tgz") {
            let packed = GzEncoder::new(create(output)?, Compression::default());
            let archive = Box::new(tar::Builder::new(packed));
            return Ok(Self::Gzip(archive, name.to_owned()));
        }
        if ending.ends_with(".tar.zst") {
            let packed = create(output)?;
            let plain = unnamed(output)?;
            return Ok(Self::Zstd(
                tar::Builder::new(plain),
                name.to_owned(),
                packed,
            ));
        }
        fs::DirBuilder::new().mode(0o700).create(output)?;
        Ok(Self::Folder(output.to_owned()))
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Folder(folder) => create(&folder.join(name))?.write_all(bytes),
            Self::Gzip(archive, folder) => add(&mut **archive, folder, name, bytes),
            Self::Zstd(archive, folder, _) => add(archive, folder, name, bytes),
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Gzip(archive, _) => archive.into_inner()?.finish()?.sync_all(),
            Self::Zstd(archive, _, mut packed) => {
                let mut plain = archive.into_inner()?;
                plain.seek(SeekFrom::Start(0))?;
                zstd(plain, &mut packed)?;
                packed.sync_all()
            }
        }
    }
}

/// Compresses `plain`. The compressor knows no errors, so they pass by it.
fn zstd(plain: impl Read, packed: impl Write) -> std::io::Result<()> {
    let (mut plain, mut packed) = (Passing::of(plain), Passing::of(packed));
    compress(&mut plain, &mut packed, CompressionLevel::Fastest);
    plain.done().and(packed.done())
}

/// A reader that ends, or a writer that swallows, after the first error, and keeps that.
struct Passing<T> {
    of: T,
    error: Option<std::io::Error>,
}

impl<T> Passing<T> {
    fn of(of: T) -> Self {
        Self { of, error: None }
    }

    fn done(self) -> std::io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

impl<T: Read> Read for Passing<T> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.error.is_some() {
            return Ok(0);
        }
        let read = self.of.read(into);
        Ok(read.unwrap_or_else(|error| {
            self.error = Some(error);
            0
        }))
    }
}

impl<T: Write> Write for Passing<T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.error.is_none()
            && let Err(error) = self.of.write_all(bytes)
        {
            self.error = Some(error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file that is gone once it is closed, in the folder of `output`: /tmp may be small.
fn unnamed(output: &Path) -> std::io::Result<File> {
    let mut path = output.as_os_str().to_owned();
    path.push(".part");
    let mut open = OpenOptions::new();
    let open = open.read(true).write(true).create_new(true).mode(0o600);
    let file = open.open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn add<W: Write>(
    archive: &mut tar::Builder<W>,
    folder: &str,
    name: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, format!("{folder}/{name}"), bytes)
}

/// A new file for our user alone.
pub(super) fn create(path: &Path) -> std::io::Result<File> {
    let mut open = OpenOptions::new();
    open.write(true).create_new(true).mode(0o600).open(path)
}

fn remove(output: &Path) {
    // What cannot be removed is named by the error that led here.
    let _ = match output.is_dir() {
        true => fs::remove_dir_all(output),
        false => fs::remove_file(output),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["manifest.json", "before-heap.pb.gz"];

    fn written(output: &Path) {
        let mut sink = Sink::create(output, "20261121-shop").unwrap();
        for name in NAMES {
            sink.put(name, name.repeat(10_000).as_bytes()).unwrap();
        }
        sink.finish().unwrap();
    }

    fn unpacked(archive: impl Read, into: &Path) {
        tar::Archive::new(archive).unpack(into).unwrap();
    }

    #[test]
    fn folders_and_archives_have_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["plain", "a.tar.gz", "b.tgz", "c.tar.zst"] {
            written(&at(name));
            assert!(
                Sink::create(&at(name), "x").is_err(),
                "{name}: nothing is overwritten"
            );
        }
        let open = |name: &str| File::open(at(name)).unwrap();
        unpacked(flate2::read::GzDecoder::new(open("a.tar.gz")), &at("a"));
        unpacked(flate2::read::GzDecoder::new(open("b.tgz")), &at("b"));
        let zstd = ruzstd::decoding::StreamingDecoder::new(open("c.tar.zst")).unwrap();
        unpacked(zstd, &at("c"));
        let folders = [
            "plain",
            "a/20261121-shop",
            "b/20261121-shop",
            "c/20261121-shop",
        ];
        for folder in folders {
            for name in NAMES {
                let bytes = fs::read(at(folder).join(name)).unwrap();
                assert_eq!(bytes, name.repeat(10_000).as_bytes(), "{folder}/{name}");
            }
        }
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 4 + 3, "nothing else stays");
    }

    #[test]
    fn a_disk_that_fails_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("no space left"))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let error = zstd(&b"some bytes"[..], Full).unwrap_err();
        assert_eq!(error.to_string(), "no space left");
    }
}

//! The build information that the Go linker leaves in every executable: version, modules, settings.
//!
//! Layout: `debug/buildinfo` of the Go source. A 32-byte header at an address divisible by 16: the magic, the
//! pointer size, flags. From Go 1.18 (flag bit 1) two strings follow, each after its length as a varint: the
//! version, and the module text between two 16-byte sentinels. Before, the header holds the addresses of two
//! Go strings. The section `.go.buildinfo` holds it; where sections are gone, the writable data is searched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::InspectError;
use crate::elf::{Elf, PF_W, word_at};
use crate::limits;
use crate::read::{ReadAt, fill, take};

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
const HEADER_BYTES: u64 = 32;
const ALIGN: u64 = 16;
const FLAG_BIG_ENDIAN: u8 = 1;
const FLAG_INLINE: u8 = 2;

/// What the Go linker noted about a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BuildInfo {
    /// The toolchain, such as `go1.27.3`, without the experiments after it.
    pub go_version: String,
    /// Experiments that differ from the version's defaults: they may change the runtime's layouts.
    pub experiments: Vec<String>,
    /// Import path of the main package; empty when the program was not built by the go command.
    pub path: String,
    /// The main module, such as `example.com/shop`.
    pub module_path: String,
    /// Its version; `(devel)` when built from a checkout without version control stamps.
    pub module_version: String,
    /// The modules that packages were taken from, at most [`limits::DEPENDENCIES_MAX`].
    pub deps: Vec<Dependency>,
    /// `-ldflags`, `CGO_ENABLED`, `GOARCH`, `vcs.revision`, `vcs.time`, `vcs.modified` and the like, at most
    /// [`limits::SETTINGS_MAX`].
    pub settings: BTreeMap<String, String>,
}

/// One module that the program was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The module's path as it is imported.
    pub path: String,
    /// Its version.
    pub version: String,
    /// The module that stands in for it by a `replace` directive: path and version.
    pub replaced_by: Option<(String, String)>,
}

impl BuildInfo {
    /// A setting's value, such as `vcs.revision`.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// True when a package of this module was linked in, replaced or not.
    pub fn depends_on(&self, module: &str) -> bool {
        self.module_path == module || self.deps.iter().any(|dep| dep.path == module)
    }
}

/// Reads the build information of an executable whose headers were read.
pub(crate) fn read<R: ReadAt + ?Sized>(reader: &R, elf: &Elf) -> Result<BuildInfo, InspectError> {
    let section = elf.section(".go.buildinfo");
    if let Some(section) = section
        && let Some(found) = Header::read(reader, section.offset, section.bytes)?
    {
        return found.build_info(reader, elf);
    }
    let has_go_sections = elf
        .sections
        .iter()
        .any(|section| section.name.ends_with(".gopclntab") || section.name == ".note.go.buildid");
    let go_by_name = section.is_some() || has_go_sections;
    // A file with believable sections and none of Go's is another program: the common case, answered at once.
    if !elf.sections.is_empty() && !go_by_name {
        return Err(InspectError::NotGo);
    }
    match search(reader, elf)? {
        Some(found) => found.build_info(reader, elf),
        None if go_by_name => Err(InspectError::NoBuildInfo),
        None => Err(InspectError::NotGo),
    }
}

/// The header found, and where.
struct Header {
    offset: u64,
    bytes: [u8; HEADER_BYTES as usize],
}

/// Searches the writable segments for the header.
fn search<R: ReadAt + ?Sized>(reader: &R, elf: &Elf) -> Result<Option<Header>, InspectError> {
    const STEP: u64 = 256 << 10;
    let mut left = limits::BUILDINFO_SCAN_BYTES_MAX;
    let writable = |flags: u32| flags & PF_W != 0;
    for segment in elf
        .segments
        .iter()
        .filter(|segment| segment.is_load() && writable(segment.flags))
    {
        // Aligned by address; the file offset is congruent to it in any file the kernel maps.
        let skip = segment.addr.wrapping_neg() % ALIGN;
        let mut at = segment.offset.saturating_add(skip);
        let end = segment.offset.saturating_add(segment.file_bytes);
        while at.checked_add(HEADER_BYTES).is_some_and(|next| next <= end) && left > 0 {
            let len = STEP.min(end - at).min(left);
            let chunk = match take(reader, "writable data", at, len, STEP) {
                Ok(chunk) => chunk,
                // A segment that lies about its size: what is there was searched.
                Err(InspectError::Truncated { .. }) => break,
                Err(error) => return Err(error),
            };
            let hit = chunk
                .chunks_exact(ALIGN as usize)
                .position(|row| row.starts_with(MAGIC));
            if let Some(row) = hit
                && let Some(found) = Header::read(reader, at + row as u64 * ALIGN, HEADER_BYTES)?
            {
                return Ok(Some(found));
            }
            at = at.saturating_add(len.next_multiple_of(ALIGN));
            left -= len;
        }
    }
    Ok(None)
}

impl Header {
    fn read<R: ReadAt + ?Sized>(
        reader: &R,
        offset: u64,
        bytes_there: u64,
    ) -> Result<Option<Self>, InspectError> {
        let mut bytes = [0; HEADER_BYTES as usize];
        if bytes_there < HEADER_BYTES {
            return Ok(None);
        }
        match fill(reader, "build information", offset, &mut bytes) {
            Ok(()) if bytes.starts_with(MAGIC) => Ok(Some(Self { offset, bytes })),
            Ok(()) => Ok(None),
            // A section that points past the end lies; the search decides.
            Err(InspectError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn build_info<R: ReadAt + ?Sized>(
        &self,
        reader: &R,
        elf: &Elf,
    ) -> Result<BuildInfo, InspectError> {
        let flags = self.bytes[15];
        let (version, module_text) = if flags & FLAG_INLINE != 0 {
            self.inline_strings(reader)?
        } else if flags & FLAG_BIG_ENDIAN != 0 {
            return Err(self.malformed("little-endian addresses"));
        } else {
            self.pointed_strings(reader, elf)?
        };
        if version.is_empty() {
            return Err(InspectError::NoBuildInfo);
        }
        Ok(parse(&String::from_utf8_lossy(&version), &module_text))
    }

    fn malformed(&self, expected: &'static str) -> InspectError {
        InspectError::Malformed {
            what: "build information",
            offset: self.offset,
            expected,
        }
    }

    /// Go 1.18 and newer: both strings follow the header.
    fn inline_strings<R: ReadAt + ?Sized>(
        &self,
        reader: &R,
    ) -> Result<(Vec<u8>, Vec<u8>), InspectError> {
        let mut at = self.offset.saturating_add(HEADER_BYTES);
        let mut string = |what, max| {
            let (len, len_bytes) = self.varint(reader, at)?;
            let start = at.saturating_add(len_bytes);
            let bytes = take(reader, what, start, len, max)?;
            at = start.saturating_add(len);
            Ok::<_, InspectError>(bytes)
        };
        let version = string("Go version", limits::VERSION_BYTES_MAX)?;
        let modules = string("module text", limits::MODULE_TEXT_BYTES_MAX)?;
        Ok((version, modules))
    }

    /// A length at `at`: seven bits a byte, lowest first. Returns it and its size.
    fn varint<R: ReadAt + ?Sized>(&self, reader: &R, at: u64) -> Result<(u64, u64), InspectError> {
        let mut value = 0;
        for index in 0..5 {
            let mut byte = [0];
            fill(
                reader,
                "length in build information",
                at.saturating_add(index),
                &mut byte,
            )?;
            value |= u64::from(byte[0] & 0x7f) << (7 * index);
            if byte[0] & 0x80 == 0 {
                return Ok((value, index + 1));
            }
        }
        Err(self.malformed("a length of at most five bytes"))
    }

    /// Before Go 1.18: the header holds the addresses of two Go string headers.
    fn pointed_strings<R: ReadAt + ?Sized>(
        &self,
        reader: &R,
        elf: &Elf,
    ) -> Result<(Vec<u8>, Vec<u8>), InspectError> {
        let word = usize::from(self.bytes[14]);
        if word != elf.pointer_bytes() {
            return Err(self.malformed("the executable's pointer size"));
        }
        let string = |what, header_addr, max| {
            // A null address means no string: programs built without modules.
            let Some((at, left)) = elf.file_range(header_addr) else {
                return Ok(Vec::new());
            };
            let header = take(reader, what, at, 2 * word as u64, left.max(2 * word as u64))?;
            let (addr, len) = (word_at(&header, 0, word), word_at(&header, word, word));
            match elf.file_range(addr) {
                Some((at, left)) if len <= left => take(reader, what, at, len, max),
                _ if len == 0 => Ok(Vec::new()),
                _ => Err(self.malformed("a string inside one segment")),
            }
        };
        let version_at = word_at(&self.bytes, 16, word);
        let modules_at = word_at(&self.bytes, 16 + word, word);
        Ok((
            string("Go version", version_at, limits::VERSION_BYTES_MAX)?,
            string("module text", modules_at, limits::MODULE_TEXT_BYTES_MAX)?,
        ))
    }
}

/// Takes the two strings apart. Never fails: lines that are not understood are left out.
fn parse(version: &str, module_text: &[u8]) -> BuildInfo {
    // "go1.27.3 X:foo,bar": experiments after the version; a development version has spaces of its own.
    let (go_version, experiments) = version.split_once(" X:").unwrap_or((version, ""));
    let mut info = BuildInfo {
        go_version: go_version.trim().to_owned(),
        ..BuildInfo::default()
    };
    let names = experiments
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    info.experiments.extend(names.take(64).map(str::to_owned));
    let text = String::from_utf8_lossy(without_sentinels(module_text));
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once('\t') else {
            continue;
        };
        let mut fields = rest.split('\t');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        match kind {
            "path" => info.path = field(),
            "mod" => (info.module_path, info.module_version) = (field(), field()),
            "dep" if info.deps.len() < limits::DEPENDENCIES_MAX => {
                info.deps.push(Dependency {
                    path: field(),
                    version: field(),
                    replaced_by: None,
                });
            }
            "=>" => {
                if let Some(dep) = info.deps.last_mut() {
                    dep.replaced_by = Some((field(), field()));
                }
            }
            "build" if info.settings.len() < limits::SETTINGS_MAX => {
                if let Some((key, value)) = key_value(rest) {
                    info.settings.insert(key, value);
                }
            }
            _ => {}
        }
    }
    info
}

/// The module text proper: the linker puts 16 bytes before and after it so that it can be found in memory.
fn without_sentinels(text: &[u8]) -> &[u8] {
    match text.len().checked_sub(17) {
        Some(last) if text.len() >= 33 && text[last] == b'\n' => &text[16..text.len() - 16],
        _ => &[],
    }
}

/// `key=value`, either of them in quotes when it holds spaces, quotes or an equals sign.
fn key_value(text: &str) -> Option<(String, String)> {
    let (key, rest) = if text.starts_with(['"', '`']) {
        let (key, rest) = unquote(text)?;
        (key, rest.strip_prefix('=')?)
    } else {
        let (key, rest) = text.split_once('=')?;
        (key.to_owned(), rest)
    };
    if key.is_empty() {
        return None;
    }
    let value = match unquote(rest) {
        Some((value, "")) => value,
        _ => rest.to_owned(),
    };
    Some((key, value))
}

/// A quoted string of Go's syntax at the start of `text`, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`')?;
        return Some((value.to_owned(), rest));
    }
    let body = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &body[at + 1..])),
            '\\' => {
                let (at, escape) = chars.next()?;
                let digits = match escape {
                    'n' => {
                        value.push('\n');
                        continue;
                    }
                    't' => {
                        value.push('\t');
                        continue;
                    }
                    'r' => {
                        value.push('\r');
                        continue;
                    }
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    other => {
                        value.push(other);
                        continue;
                    }
                };
                let code = u32::from_str_radix(body.get(at + 1..at + 1 + digits)?, 16).ok()?;
                value.push(char::from_u32(code)?);
                chars.nth(digits - 1)?;
            }
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_sentinels(text: &str) -> Vec<u8> {
        [&[b'<'; 16], text.as_bytes(), &[b'>'; 16]].concat()
    }

    #[test]
    fn module_text_is_taken_apart() {
        let text = "path\texample.com/a/cmd\nmod\texample.com/a\tv1.2.3\th1:x=\n\
                    dep\texample.com/b\tv0.1.0\th1:y=\ndep\texample.com/c\tv2.0.0\n=>\t../c\tv9\n\
                    build\t-ldflags=\"-X main.v=\\\"1\\\" -s\"\nbuild\tvcs.revision=abc\n\
                    build\t`odd=key`=1\nnonsense\nbuild\tno-equals\nnew\tkind\n";
        let info = parse("go1.27.3 X:jsonv2,nodwarf5", &with_sentinels(text));
        assert_eq!(info.go_version, "go1.27.3");
        assert_eq!(info.experiments, ["jsonv2", "nodwarf5"]);
        assert_eq!(info.path, "example.com/a/cmd");
        assert_eq!(
            (info.module_path.as_str(), info.module_version.as_str()),
            ("example.com/a", "v1.2.3")
        );
        assert_eq!(info.deps.len(), 2);
        assert_eq!(
            info.deps[1].replaced_by,
            Some(("../c".to_owned(), "v9".to_owned()))
        );
        assert!(info.depends_on("example.com/b") && !info.depends_on("example.com"));
        let settings: Vec<_> = info
            .settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            settings,
            [
                ("-ldflags", "-X main.v=\"1\" -s"),
                ("odd=key", "1"),
                ("vcs.revision", "abc")
            ]
        );
    }

    #[test]
    fn odd_versions_and_texts_are_kept_whole() {
        let devel = parse("devel go1.28-abc Thu Nov 5 X:rangefunc", b"too short");
        assert_eq!(devel.go_version, "devel go1.28-abc Thu Nov 5");
        assert_eq!((devel.experiments.len(), devel.path.as_str()), (1, ""));
        let many = "dep\ta\tb\n".repeat(limits::DEPENDENCIES_MAX + 10);
        assert_eq!(
            parse("go1.27.3", &with_sentinels(&many)).deps.len(),
            limits::DEPENDENCIES_MAX
        );
    }

    #[test]
    fn quotes_are_those_of_go() {
        let rows = [
            ("plain end", "\"ab\"", Some(("ab", ""))),
            (
                "escapes",
                r#""a\"\\\n\t\x41\u00e9é"rest"#,
                Some(("a\"\\\n\tAéé", "rest")),
            ),
            ("raw", "`a\\n`x", Some(("a\\n", "x"))),
            ("no end", "\"ab", None),
            ("escape at the end", "\"ab\\", None),
            ("cut number", "\"\\u00", None),
            ("no such character", "\"\\ud800\"", None),
            ("number across a character", "\"\\x4é\"", None),
            ("no quote", "ab", None),
        ];
        for (name, text, want) in rows {
            let want = want.map(|(value, rest)| (value.to_owned(), rest));
            assert_eq!(unquote(text), want, "{name}");
        }
    }

    /// A file of one writable segment at address 0x1000 that holds `data` at offset 0x100, in the form of Go 1.13 to 1.17.
    fn pointer_form(version_len: u64) -> Vec<u8> {
        let mut bytes = vec![0; 0x100];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(16, &[2, 0, 62, 0]);
        put(32, &64u64.to_le_bytes());
        put(54, &[56, 0, 1, 0, 64, 0]);
        put(64, &[1, 0, 0, 0, 6, 0, 0, 0]);
        put(72, &0x100u64.to_le_bytes());
        put(80, &0x1000u64.to_le_bytes());
        put(96, &0x80u64.to_le_bytes());
        let mut data = vec![0; 16]; // The header needn't come first.
        data.extend_from_slice(MAGIC);
        data.extend([8, 0]);
        let words = [0x1030, 0, 0x1040, version_len, 0x6f67, 0];
        data.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
        data[0x40..0x48].copy_from_slice(b"go1.16.9");
        data.resize(0x80, 0);
        bytes.extend(data);
        bytes
    }

    #[test]
    fn addresses_of_old_versions_are_followed() {
        let read = |bytes: &[u8]| read(bytes, &Elf::read(bytes).unwrap());
        let info = read(&pointer_form(8)).unwrap();
        assert_eq!(
            (info.go_version.as_str(), info.path.as_str()),
            ("go1.16.9", "")
        );
        assert!(matches!(
            read(&pointer_form(0)),
            Err(InspectError::NoBuildInfo)
        ));
        assert!(matches!(
            read(&pointer_form(65)),
            Err(InspectError::Malformed { offset: 0x110, .. })
        ));
        assert!(matches!(
            read(&pointer_form(u64::MAX)),
            Err(InspectError::Malformed { .. })
        ));
        let mut far = pointer_form(8);
        far[80..88].fill(0xff); // The segment's address.
        assert!(
            matches!(read(&far), Err(InspectError::NotGo)),
            "nothing is aligned there"
        );
        far[72..80].fill(0xff); // Its offset.
        assert!(
            matches!(read(&far), Err(InspectError::NotGo)),
            "nothing is there"
        );
        let cut = &pointer_form(8)[..0x140];
        assert!(
            matches!(read(cut), Err(InspectError::NotGo)),
            "the search ends where the file does"
        );
    }
}

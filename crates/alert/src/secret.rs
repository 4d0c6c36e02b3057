//! Secrets: tokens, passwords, and URLs that hold one. They come from the configuration itself, from
//! a file or from the environment, and are never shown, logged or written.

use std::io::Read as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// No secret is longer; a file that is has been named by mistake.
const SECRET_BYTES_MAX: u64 = 64 << 10;
const SHOWN: &str = "<secret>";

/// A text that does not show itself. Whoever needs it says so: [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SHOWN)
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SHOWN)
    }
}

/// Where a secret is kept. Files are read for each message, so that one which is exchanged is used
/// without a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In the configuration.
    Inline(Secret),
    /// In a file, with or without a newline at its end.
    File(PathBuf),
    /// In a variable of our own environment.
    Env(String),
}

/// Why a secret cannot be had. It names the place, never the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("failed to read the secret in {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was read is no secret.
    #[error("no secret in {place}: it {what}")]
    Unusable {
        /// The file, or the variable.
        place: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl SecretSource {
    /// The one of `name`, `name_file` and `name_env` that is written.
    ///
    /// # Errors
    /// In words, if more than one is.
    pub(crate) fn pick(
        name: &str,
        inline: Option<Secret>,
        file: Option<PathBuf>,
        env: Option<String>,
    ) -> Result<Option<Self>, String> {
        let mut written = [
            inline.map(Self::Inline),
            file.map(Self::File),
            env.map(Self::Env),
        ]
        .into_iter()
        .flatten();
        let first = written.next();
        match written.next() {
            None => Ok(first),
            Some(_) => Err(format!(
                "only one of {name}, {name}_file and {name}_env may be written"
            )),
        }
    }

    /// The same, where one must be written.
    pub(crate) fn need(
        name: &str,
        inline: Option<Secret>,
        file: Option<PathBuf>,
        env: Option<String>,
    ) -> Result<Self, String> {
        Self::pick(name, inline, file, env)?
            .ok_or_else(|| format!("one of {name}, {name}_file and {name}_env must be written"))
    }

    /// Reads it now, on this thread.
    pub(crate) fn read_now(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Inline(secret) => usable(secret.expose(), || "the configuration".into()),
            Self::File(path) => {
                let text = read_file(path)?;
                usable(&text, || path.display().to_string())
            }
            Self::Env(name) => {
                let place = || format!("the environment variable {name}");
                match std::env::var(name) {
                    Ok(text) => usable(&text, place),
                    Err(_) => Err(SecretError::Unusable {
                        place: place(),
                        what: "is not set, or is no text",
                    }),
                }
            }
        }
    }

    /// Reads it; a slow disk holds up nobody else.
    pub(crate) async fn read(&self) -> Result<Secret, SecretError> {
        let Self::File(path) = self else {
            return self.read_now();
        };
        let (source, path) = (self.clone(), path.clone());
        let read = tokio::task::spawn_blocking(move || source.read_now()).await;
        read.unwrap_or_else(|error| {
            Err(SecretError::Read {
                path,
                source: std::io::Error::other(error),
            })
        })
    }
}

fn usable(text: &str, place: impl Fn() -> String) -> Result<Secret, SecretError> {
    let text = text.trim();
    let what = if text.is_empty() {
        "is empty"
    } else if text.contains(char::is_control) {
        "has more than one line"
    } else {
        return Ok(Secret::new(text.to_owned()));
    };
    Err(SecretError::Unusable {
        place: place(),
        what,
    })
}

fn read_file(path: &std::path::Path) -> Result<String, SecretError> {
    let read = |source| SecretError::Read {
        path: path.into(),
        source,
    };
    // A pipe would hang here and could be read only once.
    if !std::fs::metadata(path).map_err(read)?.is_file() {
        return Err(read(std::io::Error::other("it is no regular file")));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(read)?;
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::Unusable {
            place: path.display().to_string(),
            what: "is larger than 64 KiB",
        });
    }
    Ok(text)
}

/// `text` without the telling parts of `secrets`: a server may repeat what it was sent.
pub(crate) fn scrubbed(text: &str, secrets: &[&Secret]) -> String {
    // Shorter pieces are everyday words.
    const PIECE_MIN: usize = 6;
    // What was cut off in the middle of one still tells.
    const BEGINNING_MIN: usize = 3;
    let mut text = text.to_owned();
    for secret in secrets {
        let pieces = secret
            .expose()
            .split(|c: char| "/?&=@: ".contains(c))
            .filter(|piece| piece.len() >= PIECE_MIN);
        for piece in pieces {
            text = text.replace(piece, SHOWN);
            let ends = |length: &usize| {
                let beginning = piece.get(..*length);
                beginning.is_some_and(|beginning| text.ends_with(beginning))
            };
            if let Some(length) = (BEGINNING_MIN..piece.len()).rev().find(ends) {
                text.truncate(text.len() - length);
                text.push_str(SHOWN);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter22".into());
        let json = serde_json::to_string(&secret).unwrap();
        let source = SecretSource::Inline(secret.clone());
        let said = format!("{secret} {secret:?} {json} {source:?}");
        assert!(!said.contains("hunter22"), "{said}");
        assert_eq!(secret.expose(), "hunter22");
    }

    #[test]
    fn one_place_and_no_other() {
        let inline = || Some(Secret::new("x".into()));
        let pick = SecretSource::pick;
        assert_eq!(pick("a", None, None, None), Ok(None));
        assert_eq!(
            pick("a", None, None, Some("E".into())),
            Ok(Some(SecretSource::Env("E".into())))
        );
        let two = pick("a", inline(), Some("f".into()), None).unwrap_err();
        assert!(two.contains("a, a_file and a_env"), "{two}");
        assert!(SecretSource::need("a", None, None, None).is_err());
    }

    #[tokio::test]
    async fn files_are_read_anew_and_errors_name_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = SecretSource::File(path.clone());
        let error = source.read().await.unwrap_err();
        assert!(error.to_string().contains("token"), "{error}");
        for text in ["first\n", "  second "] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source.read().await.unwrap().expose(), text.trim());
        }
        let big = "x".repeat(70_000);
        for (text, expected) in [("", "empty"), ("a\nb", "one line"), (&*big, "64 KiB")] {
            std::fs::write(&path, text).unwrap();
            let error = source.read().await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let folder = SecretSource::File(folder.path().into()).read().await;
        assert!(folder.is_err());
        let unset = SecretSource::Env("UNSWEPT_NOT_SET".into()).read_now();
        assert!(unset.unwrap_err().to_string().contains("UNSWEPT_NOT_SET"));
    }

    #[test]
    fn what_a_server_repeats_is_scrubbed() {
        let url = Secret::new("https://h.example/services/T0KEN123/x?key=ABCDEFGH".into());
        let said = scrubbed("no_service T0KEN123, key ABCDEFGH at x", &[&url]);
        assert_eq!(said, "no_service <secret>, key <secret> at x");
        assert_eq!(scrubbed("cut off: T0KEN1", &[&url]), "cut off: <secret>");
    }
}

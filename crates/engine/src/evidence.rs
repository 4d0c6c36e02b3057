//! Taking evidence: what `locate` asks for is fetched, kept as files, and read into a look.

use collect::{Endpoint, ProfileKind, Source, profiles};
use locate::{Abilities, Look, Request};
use model::{EvidenceFile, EvidenceKind, MappingBytes, ProcessKey, Target, TargetId, UnixMs};
use profile::{Limits, Profile};

/// From where evidence is taken.
#[derive(Clone)]
pub struct Subject {
    /// The target's id.
    pub target: TargetId,
    /// Its process, where it is one on this host.
    pub process: Option<ProcessKey>,
    /// Its endpoint, as far as it is known.
    pub endpoint: Endpoint,
}

/// What a capture brought.
#[derive(Debug, Default)]
pub struct Capture {
    /// The files, named `before-...` or `after-...`.
    pub files: Vec<EvidenceFile>,
    /// The same, read.
    pub look: Look,
    /// What was asked for and not had, in words.
    pub refusals: Vec<String>,
}

impl Subject {
    /// The subject that `target` is, with what is known of its endpoint.
    #[must_use]
    pub fn new(target: &Target, endpoint: Endpoint) -> Self {
        Self {
            target: target.id.clone(),
            process: target.process.clone(),
            endpoint,
        }
    }

    /// What can be asked of it.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        Abilities {
            profiles: !self.endpoint.pprof_bases.is_empty(),
            mappings: self.process.is_some(),
            holders: self.process.is_some(),
        }
    }

    /// Takes `requests` one after the other. What fails is a refusal, and the rest goes on: a
    /// target may be dying while we ask.
    pub async fn capture(&self, source: &Source, requests: &[Request], prefix: &str) -> Capture {
        let mut capture = Capture::default();
        for request in requests {
            match request {
                Request::Heap => {
                    self.profile(source, ProfileKind::Heap, prefix, &mut capture)
                        .await
                }
                Request::Goroutine => {
                    self.profile(source, ProfileKind::Goroutine, prefix, &mut capture)
                        .await;
                }
                Request::Mappings => self.mappings(source, prefix, &mut capture).await,
                // It may take half a minute: no incident waits for it. See `holders`.
                Request::Holders => {}
            }
        }
        if self.endpoint.pprof_bases.is_empty() {
            capture
                .refusals
                .push("profiles: no pprof endpoint is known for this target".into());
        }
        capture
    }

    async fn profile(&self, source: &Source, kind: ProfileKind, prefix: &str, to: &mut Capture) {
        let mut said = Vec::new();
        let fetcher = source.fetcher_for(&self.endpoint);
        for base in &self.endpoint.pprof_bases {
            let bytes = match profiles::fetch_profile(&fetcher, base, kind).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    said.push(error.to_string());
                    continue;
                }
            };
            match parse(bytes).await {
                Ok((bytes, profile)) => {
                    let (evidence, slot) = match kind {
                        ProfileKind::Heap => (EvidenceKind::HeapProfile, &mut to.look.heap),
                        ProfileKind::Goroutine => {
                            (EvidenceKind::GoroutineProfile, &mut to.look.goroutine)
                        }
                    };
                    *slot = Some(profile);
                    let name = format!("{prefix}-{}.pb.gz", kind.as_str());
                    to.files
                        .push(self.file(evidence, source.clock.now(), name, bytes));
                    return;
                }
                Err(reason) => {
                    said.push(format!("{base}/{} is no profile: {reason}", kind.as_str()))
                }
            }
        }
        if !said.is_empty() {
            to.refusals
                .push(format!("{} profile: {}", kind.as_str(), said.join("; ")));
        }
    }

    async fn mappings(&self, source: &Source, prefix: &str, to: &mut Capture) {
        match self.read_mappings(source).await {
            Some(Ok(mappings)) => {
                if let Ok(bytes) = serde_json::to_vec_pretty(&mappings.bytes) {
                    let name = format!("{prefix}-mappings.json");
                    let at = source.clock.now();
                    to.files
                        .push(self.file(EvidenceKind::Mappings, at, name, bytes));
                }
                to.look.mappings = Some(mappings.bytes);
            }
            Some(Err(reason)) => to.refusals.push(format!("mappings: {reason}")),
            None => {}
        }
    }

    /// Reads the mappings through the reader; `None` when the target is no process here.
    pub async fn read_mappings(&self, source: &Source) -> Option<Result<reader::Mappings, String>> {
        let key = self.process.clone()?;
        let reader = source.reader.clone();
        let answer = tokio::task::spawn_blocking(move || reader.mappings(&key, false)).await;
        Some(match answer {
            Ok(Ok(Ok(mappings))) => Ok(mappings),
            Ok(Ok(Err(failure))) => Err(failure.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the reading was cut off".into()),
        })
    }

    fn file(&self, kind: EvidenceKind, at: UnixMs, name: String, bytes: Vec<u8>) -> EvidenceFile {
        EvidenceFile {
            kind,
            target: self.target.clone(),
            at,
            name,
            bytes,
        }
    }
}

/// Parses on a blocking thread: a big profile takes tens of milliseconds.
async fn parse(bytes: Vec<u8>) -> Result<(Vec<u8>, Profile), String> {
    let parse = move || match Profile::parse(&bytes, &Limits::default()) {
        Ok(profile) => Ok((bytes, profile)),
        Err(error) => Err(error.to_string()),
    };
    tokio::task::spawn_blocking(parse)
        .await
        .unwrap_or_else(|_| Err("parsing was cut off".into()))
}

/// The look that stored files give again. Files that cannot be read any more are left out.
#[must_use]
pub fn look_of(files: &[EvidenceFile]) -> Look {
    let mut look = Look::default();
    for file in files {
        let profile = || Profile::parse(&file.bytes, &Limits::default()).ok();
        match file.kind {
            EvidenceKind::HeapProfile => look.heap = profile(),
            EvidenceKind::GoroutineProfile => look.goroutine = profile(),
            EvidenceKind::Mappings => {
                look.mappings = serde_json::from_slice::<MappingBytes>(&file.bytes).ok();
            }
            _ => {}
        }
    }
    look
}

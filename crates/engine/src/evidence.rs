//! Taking evidence: what `locate` asks for is fetched, kept as files, and read into a look.

use collect::{Endpoint, ProfileKind, Source, profiles};
use fetch::FetchError;
use locate::{Abilities, Look, Request};
use model::{
    EvidenceFile, EvidenceKind, MappingBytes, ProcessKey, Refusal, RefusedCapture, Target,
    TargetId, UnixMs,
};
use profile::{Limits, Profile};

use crate::config;
use crate::outside::Outside;
use crate::rails::{self, Standing};

/// From where evidence is taken.
#[derive(Clone)]
pub struct Subject {
    /// The target's id.
    pub target: TargetId,
    /// Its process, where it is one on this host.
    pub process: Option<ProcessKey>,
    /// Its endpoint, as far as it is known.
    pub endpoint: Endpoint,
    /// Somebody asked for this one: its mappings are read however big it is.
    pub asked: bool,
}

/// What a capture brought.
#[derive(Debug, Default)]
pub struct Capture {
    /// The files, named `before-...` or `after-...`.
    pub files: Vec<EvidenceFile>,
    /// The same, read.
    pub look: Look,
    /// What was asked for and not had.
    pub refusals: Vec<RefusedCapture>,
    /// What is to be known of what was taken, in words.
    pub notes: Vec<String>,
    /// Reading goroutines from outside was allowed, and is over with this.
    pub(crate) was_outside: bool,
}

/// How a capture is to be taken.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What the files' names begin with.
    pub prefix: &'static str,
    /// The most that a profile may have.
    pub profile_bytes_max: usize,
    /// How the target stands: it decides what may be taken.
    pub standing: Standing,
    /// Its limits are in these settings.
    pub settings: config::Evidence,
    /// Why no profile is taken whatever the target bears, where none is.
    pub refused: Option<Refusal>,
    /// Whether goroutines may be read from outside, where the target may not be asked for them.
    pub(crate) outside: Outside,
}

impl Terms {
    /// For an incident.
    #[must_use]
    pub fn for_incident(standing: Standing, settings: &config::Evidence) -> Self {
        Self {
            prefix: "after",
            profile_bytes_max: profiles::PROFILE_BYTES_MAX,
            standing,
            settings: settings.clone(),
            refused: None,
            outside: Ok(None),
        }
    }

    /// The same, where no profile is taken for that reason, if there is one.
    #[must_use]
    pub fn refused_by(self, refused: Option<Refusal>) -> Self {
        Self { refused, ..self }
    }

    /// The same with what was said about reading goroutines from outside.
    pub(crate) fn with_outside(self, outside: Outside) -> Self {
        Self { outside, ..self }
    }

    /// For the ring, which keeps small files only.
    #[must_use]
    pub fn for_ring(standing: Standing, settings: &config::Evidence) -> Self {
        let kept = usize::try_from(store::SNAPSHOT_BYTES_MAX).unwrap_or(usize::MAX);
        Self {
            prefix: "ring",
            profile_bytes_max: kept,
            ..Self::for_incident(standing, settings)
        }
    }
}

impl Subject {
    /// The subject that `target` is, with what is known of its endpoint.
    #[must_use]
    pub fn new(target: &Target, endpoint: Endpoint) -> Self {
        Self {
            target: target.id.clone(),
            process: target.process.clone(),
            endpoint,
            asked: false,
        }
    }

    /// The same, where somebody asked for it.
    #[must_use]
    pub fn asked(self, asked: bool) -> Self {
        Self { asked, ..self }
    }

    /// What can be asked of it, where a collection may be forced if `force_gc`.
    #[must_use]
    pub fn abilities(&self, force_gc: bool) -> Abilities {
        Abilities {
            profiles: !self.endpoint.pprof_bases.is_empty(),
            mappings: self.process.is_some(),
            holders: self.process.is_some(),
            force_gc,
        }
    }

    /// Takes the light ones of `requests` one after the other; see `costly` for the others, and
    /// `holders`, which takes its time. What fails is a refusal, and the rest goes on: a target may be
    /// dying while we ask.
    pub async fn capture(&self, source: &Source, requests: &[Request], terms: &Terms) -> Capture {
        let mut capture = Capture {
            was_outside: matches!(terms.outside, Ok(Some(_))),
            ..Capture::default()
        };
        let mut may_not_ask = false;
        for request in requests {
            let taken = match request {
                Request::Heap | Request::Goroutine if self.endpoint.pprof_bases.is_empty() => {
                    let why = "no pprof endpoint is known for this target".to_owned();
                    Err(Refusal::Failed { why })
                }
                Request::Heap => {
                    let kind = ProfileKind::Heap;
                    let taken = self
                        .light(source, *request, kind, terms, &mut capture)
                        .await;
                    taken.map(|profile| capture.look.heap = Some(profile))
                }
                Request::Goroutine => {
                    let kind = ProfileKind::Goroutine;
                    let taken = self
                        .light(source, *request, kind, terms, &mut capture)
                        .await;
                    taken.map(|profile| capture.look.goroutine = Some(profile))
                }
                Request::Mappings => self.mappings(source, terms, &mut capture).await,
                Request::HeapAfterGc
                | Request::GoroutineDump
                | Request::GoroutineLeak
                | Request::GoroutinesOutside
                | Request::Holders => Ok(()),
            };
            if let Err(refusal) = taken {
                may_not_ask |= *request == Request::Goroutine && is_for_the_targets_sake(&refusal);
                capture.refusals.push(self.refused(*request, refusal));
            }
        }
        // Last: it takes a second or more, and the others are at hand.
        if may_not_ask {
            self.goroutines_outside(source, terms, &mut capture).await;
        }
        capture
    }

    /// That `request` was not had.
    pub(crate) fn refused(&self, request: Request, refusal: Refusal) -> RefusedCapture {
        RefusedCapture {
            capture: rails::evidence_of(request),
            target: self.target.clone(),
            refusal,
        }
    }

    async fn light(
        &self,
        source: &Source,
        request: Request,
        kind: ProfileKind,
        terms: &Terms,
        to: &mut Capture,
    ) -> Result<Profile, Refusal> {
        if let Some(refusal) = &terms.refused {
            return Err(refusal.clone());
        }
        rails::allowed(request, &terms.standing, &terms.settings)?;
        let (bytes, profile) = self.profile(source, kind, terms.profile_bytes_max).await?;
        let (evidence, at) = (rails::evidence_of(request), source.clock.now());
        let name = format!("{}-{}.pb.gz", terms.prefix, kind.as_str());
        to.files.push(self.file(evidence, at, name, bytes));
        Ok(profile)
    }

    /// Fetches a profile from the first endpoint that has it, and reads it.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::Failed`].
    pub(crate) async fn profile(
        &self,
        source: &Source,
        kind: ProfileKind,
        bytes_max: usize,
    ) -> Result<(Vec<u8>, Profile), Refusal> {
        let mut said = Vec::new();
        for base in &self.endpoint.pprof_bases {
            match self.fetch(source, base, kind, bytes_max).await {
                Ok(bytes) => match parse(bytes).await {
                    Ok(read) => return Ok(read),
                    Err(reason) => {
                        said.push(format!("{base}/{} is no profile: {reason}", kind.path()))
                    }
                },
                Err(Refusal::Failed { why }) => said.push(why),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::Failed {
            why: said.join("; "),
        })
    }

    pub(crate) async fn fetch(
        &self,
        source: &Source,
        base: &str,
        kind: ProfileKind,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Refusal> {
        let fetcher = source.fetcher_for(&self.endpoint);
        let fetched = profiles::fetch_profile(&fetcher, base, kind, bytes_max).await;
        fetched.map_err(|error| match error {
            FetchError::TooLarge { limit_bytes, .. } => Refusal::TooLarge {
                allowed_bytes: limit_bytes as u64,
            },
            other => Refusal::Failed {
                why: other.to_string(),
            },
        })
    }

    async fn mappings(
        &self,
        source: &Source,
        terms: &Terms,
        to: &mut Capture,
    ) -> Result<(), Refusal> {
        match self.read_mappings(source).await {
            Some(Ok(mappings)) => {
                if let Ok(bytes) = serde_json::to_vec_pretty(&mappings.bytes) {
                    let name = format!("{}-mappings.json", terms.prefix);
                    let at = source.clock.now();
                    to.files
                        .push(self.file(EvidenceKind::Mappings, at, name, bytes));
                }
                to.look.mappings = Some(mappings.bytes);
                Ok(())
            }
            Some(Err(why)) => Err(Refusal::Failed { why }),
            None => Ok(()),
        }
    }

    /// Reads the mappings through the reader; `None` when the target is no process here.
    pub async fn read_mappings(&self, source: &Source) -> Option<Result<reader::Mappings, String>> {
        let key = self.process.clone()?;
        let (reader, any_size) = (source.reader.clone(), self.asked);
        let answer = tokio::task::spawn_blocking(move || reader.mappings(&key, any_size)).await;
        Some(match answer {
            Ok(Ok(Ok(mappings))) => Ok(mappings),
            Ok(Ok(Err(failure))) => Err(failure.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the reading was cut off".into()),
        })
    }

    /// A file of this target.
    pub(crate) fn file(
        &self,
        kind: EvidenceKind,
        at: UnixMs,
        name: String,
        bytes: Vec<u8>,
    ) -> EvidenceFile {
        EvidenceFile {
            kind,
            target: self.target.clone(),
            at,
            name,
            bytes,
        }
    }
}

/// Whether making a profile would have harmed the target: then it can be read from outside instead.
fn is_for_the_targets_sake(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::TooManyGoroutines { .. } | Refusal::LittleHeadroom { .. }
    )
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

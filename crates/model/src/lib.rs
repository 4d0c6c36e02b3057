//! The words of unswept, shared by every layer: ids, times, samples, labels, memory figures,
//! targets, verdicts, incidents, and the seams between the layers.
//!
//! Start at [`verdict::Verdict`], the product's answer, or at [`series`] for how numbers travel.
//! This crate does no I/O, reads no clock and holds no policy: a figure's meaning is written here,
//! what follows from it is judged elsewhere.
#![forbid(unsafe_code)]

pub mod answer;
pub mod channel;
pub mod command;
pub mod duration;
pub mod fleet;
pub mod incident;
pub mod labels;
pub mod mark;
pub mod memory;
pub mod process;
pub mod refusal;
pub mod series;
pub mod size;
pub mod target;
pub mod time;
pub mod verdict;

pub use answer::{Answer, AnswerSort, Said, Silence, SilenceReason};
pub use channel::{Channel, ChannelData, Facts, MemoryLimitKind};
pub use command::{Command, CommandOutcome, Commands};
pub use fleet::{FleetRead, FleetView, TargetView};
pub use incident::{
    EvidenceFile, EvidenceKind, EvidenceRef, Incident, IncidentId, IncidentState, Siblings,
};
pub use labels::{Labels, METRIC_NAME, TARGET_LABEL};
pub use mark::{Mark, MarkKind};
pub use memory::{
    Component, ContainerEvents, ContainerMemory, EffectiveLimit, GcSettings, GoMemory, GoSource,
    Ledger, LedgerBasis, MappingBytes, Pressure, ProcessMemory, Setting, SettingSource,
};
pub use process::{BootId, Pid, ProcessKey, StartTicks};
pub use refusal::{Refusal, RefusedCapture};
pub use series::{
    Append, Batch, Budget, Cancel, MatchOp, Matcher, Query, Sample, Series, SeriesRead,
};
pub use target::{Revision, Target, TargetId, TargetState, Workload, without_secrets};
pub use time::{Clock, SimClock, UnixMs};
pub use verdict::{
    Finding, Growth, Holder, HolderKind, Judgement, Kind, Reason, Suspect, SuspectWhat, Verdict,
};

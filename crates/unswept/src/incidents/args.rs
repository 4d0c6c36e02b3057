//! What can be asked of incidents on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use model::UnixMs;

use crate::args::{Format, time};

// What a command does stands above its arguments: text here would hide the rest of it.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Incidents {
    List(List),
    Show(Show),
    Ack(Ack),
    Mute(Mute),
    Mark(Mark),
    Undo(Undo),
    Export(Export),
}

/// List the incidents, the latest first
#[derive(Debug, Clone, Args)]
pub(crate) struct List {
    /// Where the watcher keeps its data [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// A table, or JSON
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Show one incident: growth, suspects, what happened, where the evidence lies
#[derive(Debug, Clone, Args)]
pub(crate) struct Show {
    /// The incident's id, or a beginning that only it has
    pub(crate) id: String,

    /// Where the watcher keeps its data [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// Text for people, or the manifest as JSON (schema unswept/incident/1)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What all answers have.
#[derive(Debug, Clone, Args)]
pub(crate) struct Who {
    /// The incident's id, or a beginning that only it has
    pub(crate) id: String,

    /// Who answers [default: the user who runs this]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,

    /// Where the watcher keeps its data [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// Acknowledge an incident: somebody is on it, and chats are not told again
///
/// Alertmanager goes on to hear of it, with the name in an annotation.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ack {
    #[command(flatten)]
    pub(crate) who: Who,

    /// Why, or what is done about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) note: String,
}

/// Mute an incident: nobody is told of it for a time, or until another revision leaks
///
/// Alertmanager hears that it is over, and that it is on again when the mute ends and it still leaks.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept incidents mute 20261121-shop --for 8h
  unswept incidents mute 20261121-shop --until 2026-12-01T08:00:00Z --note 'the fix is in review'
  unswept incidents mute 20261121-shop --until-revision")]
pub(crate) struct Mute {
    #[command(flatten)]
    pub(crate) who: Who,

    /// For how long
    #[arg(long = "for", value_name = "TIME", value_parser = time, conflicts_with = "until")]
    pub(crate) duration: Option<Duration>,

    /// Until when, in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<UnixMs>,

    /// Until another revision leaks than the one that does now
    #[arg(long, required_unless_present_any = ["duration", "until"])]
    pub(crate) until_revision: bool,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) note: String,
}

/// Say what an incident is: expected up to a ceiling, a false alarm, or a leak
///
/// What is expected or a false alarm is told to nobody, now and when the same workload, kind and
/// culprit come again; what is expected is told once a process has more memory than the ceiling.
/// Marks leave with `unswept incidents export --labels`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept incidents mark 20261121-shop expected --ceiling 2GiB --note 'it is the cache'
  unswept incidents mark 20261121-shop false-alarm")]
pub(crate) struct Mark {
    #[command(flatten)]
    pub(crate) who: Who,

    /// What it is
    #[arg(value_enum)]
    pub(crate) what: What,

    /// Up to how much memory of one process it is expected, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size, required_if_eq("what", "expected"))]
    pub(crate) ceiling: Option<u64>,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) note: String,
}

/// What an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// It is meant to grow, up to --ceiling
    Expected,
    /// It is no leak
    FalseAlarm,
    /// It is one
    Leak,
}

/// Take an answer back
#[derive(Debug, Clone, Args)]
pub(crate) struct Undo {
    #[command(flatten)]
    pub(crate) who: Who,

    /// Which answer
    #[arg(value_enum)]
    pub(crate) answer: Sort,
}

/// Which of an incident's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The acknowledgement
    Ack,
    /// The mute
    Mute,
    /// The mark
    Mark,
}

/// Take an incident along: its manifest, its evidence, its series and a page to read
///
/// The ending of the name says how: .tar.gz, .tar.zst, or a folder. With --labels, all incidents that
/// people have marked are written as lines of JSON, each with its mark and its series: labelled data.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept incidents export 20261121-shop -o shop.tar.zst
  unswept incidents export 20261121-shop -o shop/
  unswept incidents export --labels -o labels.jsonl")]
pub(crate) struct Export {
    /// The incident's id, or a beginning that only it has
    #[arg(required_unless_present = "labels", conflicts_with = "labels")]
    pub(crate) id: Option<String>,

    /// Write the marks of all incidents with their series
    #[arg(long)]
    pub(crate) labels: bool,

    /// What to write; it must not be there yet
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,

    /// Where the watcher keeps its data [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// Write an incident as one HTML file that needs nothing else
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept report 20261121-shop                    writes 20261121-shop-0123456789abcdef.html
  unswept report 20261121-shop -o incident.html")]
pub(crate) struct Report {
    /// The incident's id, or a beginning that only it has
    pub(crate) id: String,

    /// What to write; it must not be there yet [default: ID.html]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Where the watcher keeps its data [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,
}

fn moment(text: &str) -> Result<UnixMs, String> {
    let wrong = || format!("expected a time such as 2026-12-01T08:00:00Z, found `{text}`");
    UnixMs::parse_rfc3339(text).ok_or_else(wrong)
}

fn size(text: &str) -> Result<u64, String> {
    model::size::parse_size(text).map_err(|error| error.to_string())
}

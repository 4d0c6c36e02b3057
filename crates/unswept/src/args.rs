//! What can be asked on the command line, and the help that teaches it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::incidents::args::{Incidents, Report};

/// How `inspect` starts the process that watches over a pause.
pub(crate) const PAUSE_GUARD: &str = "pause-guard";

/// Tells a memory leak from growth in Go services, keeps the evidence, and names what holds the
/// memory.
#[derive(Debug, Parser)]
#[command(name = "unswept", version, max_term_width = 100, after_help = HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The command of a command line. Without one it is `watch`, which the environment may tell something, too.
///
/// # Errors
/// As clap has it; asking for help is one.
pub(crate) fn command(words: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    match Arguments::try_parse_from(words)?.command {
        Some(command) => Ok(command),
        None => Ok(Command::Watch(Bare::try_parse_from(["unswept"])?.watch)),
    }
}

/// No words at all: what is left are the environment and what is so by default.
#[derive(Parser)]
struct Bare {
    #[command(flatten)]
    watch: Watch,
}

const HELP: &str = "\
Without a command it watches: the same as `unswept watch`.

Where to start:
  unswept ps              which Go processes run here, and what can be seen of each
  unswept diagnose 4242   does that one leak, and where: an answer in minutes
  unswept watch           all of them, all the time, with a page on http://127.0.0.1:7787/
  unswept judge shop.om   what it would have told of series that you have recorded
  unswept doctor          what is missing on this host, and what to do about it

Exit codes: 0 done; 1 something you can mend; 2 usage, or our fault; 3 the --fail-on condition
holds; 4 it could not be decided (with --fail-on unsure).";

// What a command with arguments does stands above its arguments: text here would hide the rest of it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "run")]
    Watch(Watch),
    Diagnose(Diagnose),
    Ps(Ps),
    /// Read pprof profiles: what is in one, what grew between two
    #[command(subcommand)]
    Profile(Profile),
    /// Show the incidents that the watcher has kept, answer them, take them along
    #[command(subcommand, after_help = INCIDENTS_HELP)]
    Incidents(Incidents),
    Report(Report),
    Judge(crate::judge::args::Judge),
    /// Look into a live Go process that offers nothing: no endpoint, no restart, stripped if need be
    #[command(subcommand, after_help = INSPECT_HELP)]
    Inspect(crate::inspect::args::Inspect),
    /// Try out who is told of incidents
    #[command(subcommand)]
    Notify(Notify),
    /// Ends a pause whose owner cannot; started by `inspect` itself
    #[command(hide = true, name = PAUSE_GUARD)]
    PauseGuard,
    Doctor(Doctor),
}

const INCIDENTS_HELP: &str = "\
Where to start:
  unswept incidents list                               what has leaked, and what was said to it
  unswept incidents ack 20261121-shop                  somebody is on it: chats are not told again
  unswept incidents mute 20261121-shop --for 8h        nobody wants to hear of it until then
  unswept incidents mark 20261121-shop expected --ceiling 2GiB
  unswept incidents undo 20261121-shop mute
  unswept incidents export 20261121-shop -o shop.tar.zst

An answer goes to the watcher that runs on the data folder, or into the folder when none runs. It
holds for the same workload, kind and culprit, also when they leak again later.";

const INSPECT_HELP: &str = "\
Everything is read out of the process's memory, so it works without an endpoint, without a restart
and on stripped executables: Go 1.21 to 1.27, amd64. Reads only, and nothing is
stopped unless --pause or --snapshot of `refs` asks for it.

Where to start:
  unswept ps                       which Go processes run here
  unswept inspect memstats 4242    what its memory is made of
  unswept inspect goroutines 4242  what all its goroutines do
  unswept inspect heap 4242        which lines allocated what it holds
  unswept inspect refs 4242        who holds it: variables, goroutines, timers, with paths
  unswept inspect refs 4242 --diff 30s     what grows meanwhile: a leak's name
  unswept inspect refs core --exe ./shop   the same of a core file, days later

Who may look: the process's own user, where the process may be dumped and kernel.yama.ptrace_scope
is 0; or whoever has CAP_SYS_PTRACE. For a container: from the host, or from a debug container that
shares the process namespace and has SYS_PTRACE.";

/// Watch every Go process of this host, judge it, and serve the page (the default)
///
/// Every Go process of the host is found by itself; services elsewhere come from `scrape_configs`
/// in the configuration, written as Prometheus has them.
///
/// On a terminal it shows a live screen; anywhere else plain lines on standard error, and each
/// alert as a line of JSON on standard output.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept watch                                  everything on this host
  unswept watch --config unswept.yml --plain     as a service
  unswept watch | jq .                           alerts as JSON, for another program")]
pub(crate) struct Watch {
    /// Configuration file (YAML); without one, every Go process on this host is watched
    #[arg(long, value_name = "FILE", env = "UNSWEPT_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Where the page and the API answer
    #[arg(long, value_name = "ADDR:PORT", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: SocketAddr,

    /// Where series, incidents and evidence are kept [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) host: HostArguments,

    /// Serve the page to other machines: whoever reaches it may read everything
    #[arg(long)]
    pub(crate) insecure_listen: bool,

    /// Print plain lines instead of the live screen, also on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
}

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7787";

/// How the host is seen, for all commands that look at its processes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostArguments {
    /// Where the host's file system is mounted, for the names of containers, if that is not found by
    /// itself
    #[arg(long, value_name = "DIR", env = "UNSWEPT_HOST_ROOT")]
    pub(crate) host_root: Option<PathBuf>,
}

/// In which form an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Say of one service whether it leaks, how fast, and where
///
/// Shows at once what one look can show: what the memory is made of, the limit, the collector,
/// goroutines. Then it judges, until there is an answer or the time is up, and names the line.
/// Nothing is written to disk, and nothing is asked of the service that stops it, but with --confirm.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept diagnose 4242                              by pid (see `unswept ps`)
  unswept diagnose shop                              by name, where one process has it
  unswept diagnose http://10.0.0.7:6060              a service elsewhere
  unswept diagnose shop --for 10m --interval 5s      a slow leak takes longer to tell
  unswept diagnose shop --url http://127.0.0.1:8081  where /metrics is not found by itself
  unswept diagnose shop --confirm                    where it hardly collects: force it
  unswept diagnose shop --for 2m --fail-on leak      in a soak test: exit code 3 if it leaks

Exit codes: 0 there is an answer; 3 it leaks (with --fail-on leak); 4 it could not be decided
(with --fail-on unsure); 1 no such process, or no permission to look.")]
pub(crate) struct Diagnose {
    /// A pid; a name (process, executable, container, systemd unit); pod/NAMESPACE/NAME, with
    /// /CONTAINER if need be; or the URL of a service such as http://HOST:PORT
    pub(crate) target: String,

    /// Judge for this long [default: until the answer settles, at most 5m]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,

    /// Time between two readings
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) interval: Duration,

    /// Where the process serves /metrics and /debug/pprof, if that is not found by itself
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Text for people, or the verdict as JSON (schema unswept/verdict/1)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,

    /// Force collections meanwhile (/debug/pprof/heap?gc=1), so that only what lives is judged, and
    /// go on for up to 30m while it cannot be told. Each stops the service for a moment and costs it
    /// CPU; none is forced near its limit
    #[arg(long)]
    pub(crate) confirm: bool,

    /// Fail with code 3 on a leak, with code 4 when it stays unsure
    #[arg(long, value_name = "ANSWER", value_enum, value_delimiter = ',')]
    pub(crate) fail_on: Vec<FailOn>,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

/// Which answer is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// It leaks: exit code 3
    Leak,
    /// It could not be decided: exit code 4
    Unsure,
}

/// List the Go processes of this host and what can be seen of each
///
/// Looks at processes and files only: no port is asked, so goroutines are not known here.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept ps
  unswept ps --format json | jq '.processes[] | select(.rss_bytes > 1e9) | .pid'")]
pub(crate) struct Ps {
    /// A table, or JSON
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Profile {
    Top(ProfileTop),
    Diff(ProfileDiff),
}

/// Print the functions with the most, as `go tool pprof -top` does
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept profile top heap.pb.gz
  unswept profile top --sample-type alloc_space --nodecount 10 heap.pb.gz
  unswept profile top http://127.0.0.1:6060/debug/pprof/heap
  curl -s http://127.0.0.1:6060/debug/pprof/goroutine | unswept profile top -")]
pub(crate) struct ProfileTop {
    /// A profile: a file, a URL, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) profile: String,

    /// What to count, such as inuse_space or alloc_objects [default: the profile's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) sample_type: Option<String>,

    /// At most so many functions; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) nodecount: usize,

    /// Order by the function with all it called, not by the function alone
    #[arg(long)]
    pub(crate) cum: bool,
}

/// Print what grew from one profile to a later one, by the line to look at
///
/// Take the two some minutes apart: two heap profiles of one collection show the same heap.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept profile diff before-heap.pb.gz after-heap.pb.gz
  unswept profile diff --stacks before.pb.gz http://127.0.0.1:6060/debug/pprof/heap")]
pub(crate) struct ProfileDiff {
    /// The earlier profile: a file, a URL, or `-` for standard input
    pub(crate) before: String,

    /// The later profile
    pub(crate) after: String,

    /// What to count, such as inuse_space or goroutine [default: the later profile's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) sample_type: Option<String>,

    /// The program's main module: its lines are looked at first
    #[arg(long, value_name = "PATH")]
    pub(crate) module: Option<String>,

    /// At most so many lines; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) nodecount: usize,

    /// Show the stack that grew most below each line
    #[arg(long)]
    pub(crate) stacks: bool,
}

/// Say what this host and these privileges allow, and what to do about each `no`
///
/// A missing permission is no failure: it says what cannot be seen. The exit code is 1 when
/// something is broken that `unswept` cannot do without.
#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    /// Where the watcher would keep its data [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Notify {
    Test(NotifyTest),
}

/// Send a test alert through each receiver, firing and then resolved, and say what became of it
///
/// The alert is called UnsweptTest and says of itself that it is a test. The exit code is 1 if one
/// of them did not take it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept notify test --config unswept.yml
  unswept notify test --config unswept.yml --receiver team-a
  unswept notify test --config unswept.yml --receiver alertmanager")]
pub(crate) struct NotifyTest {
    /// The configuration file with `receivers:` or `alerting:`
    #[arg(long, value_name = "FILE", env = "UNSWEPT_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Only the receiver of this name; `alertmanager` for the Alertmanagers
    #[arg(long, value_name = "NAME")]
    pub(crate) receiver: Option<String>,
}

/// A time as Prometheus writes it, of 100 ms or more.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match model::duration::parse_duration(text) {
        Ok(time) if time < Duration::from_millis(100) => Err("expected 100ms or more".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_watches() {
        let parsed = |words: &[&str]| {
            let words = words.iter().map(OsString::from);
            command(words).map_err(|error| error.kind())
        };
        let (Ok(Command::Watch(bare)), Ok(Command::Watch(told))) =
            (parsed(&["unswept"]), parsed(&["unswept", "watch"]))
        else {
            panic!("both watch");
        };
        assert_eq!(format!("{bare:?}"), format!("{told:?}"));
        assert!(matches!(
            parsed(&["unswept", "--help"]),
            Err(clap::error::ErrorKind::DisplayHelp)
        ));
    }

    /// A command and what its arguments say of themselves.
    type Told = (&'static str, clap::Command);

    fn told<A: Args>(name: &'static str) -> Told {
        (name, A::augment_args(clap::Command::new("own")))
    }

    fn words(text: impl ToString) -> String {
        let text = text.to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The commands without commands of their own, each by its names.
    fn leaves(of: &clap::Command, above: &str, found: &mut Vec<(String, clap::Command)>) {
        for command in of.get_subcommands().filter(|one| one.get_name() != "help") {
            let name = format!("{above} {}", command.get_name());
            match command.has_subcommands() {
                true => leaves(command, &name, found),
                false => found.push((name.trim().to_owned(), command.clone())),
            }
        }
    }

    #[test]
    fn help_hides_nothing_that_the_arguments_say() {
        use crate::incidents::args::{Ack, Export, List, Mark, Mute, Show, Undo};
        use crate::inspect::args::{Goroutines, Heap, MemStats, Refs};
        let all = [
            told::<Watch>("watch"),
            told::<Diagnose>("diagnose"),
            told::<Ps>("ps"),
            told::<ProfileTop>("profile top"),
            told::<ProfileDiff>("profile diff"),
            told::<List>("incidents list"),
            told::<Show>("incidents show"),
            told::<Ack>("incidents ack"),
            told::<Mute>("incidents mute"),
            told::<Mark>("incidents mark"),
            told::<Undo>("incidents undo"),
            told::<Export>("incidents export"),
            told::<Report>("report"),
            told::<crate::judge::args::Judge>("judge"),
            told::<MemStats>("inspect memstats"),
            told::<Goroutines>("inspect goroutines"),
            told::<Heap>("inspect heap"),
            told::<Refs>("inspect refs"),
            told::<NotifyTest>("notify test"),
            told::<Doctor>("doctor"),
        ];
        let mut found = Vec::new();
        leaves(&Arguments::command(), "", &mut found);
        found.retain(|(name, _)| name != PAUSE_GUARD);
        assert_eq!(found.len(), all.len(), "each command has its row");
        for (name, own) in all {
            let (_, mut command) = found
                .iter()
                .find(|(of, _)| of == name)
                .cloned()
                .unwrap_or_else(|| panic!("no command {name}"));
            let help = words(command.render_long_help());
            let about = own.get_about().unwrap_or_else(|| panic!("{name}: no text"));
            assert!(help.starts_with(&words(about)), "{name}: {help}");
            let arguments = own
                .get_arguments()
                .filter_map(|one| one.get_long_help().or(one.get_help()));
            let texts = own.get_long_about().into_iter();
            for text in texts.chain(own.get_after_help()).chain(arguments) {
                let text = words(text);
                assert!(help.contains(&text), "{name} --help hides: {text}");
            }
            for value in own
                .get_arguments()
                .flat_map(|one| one.get_possible_values())
            {
                let text = value.get_help().map(words).unwrap_or_default();
                assert!(help.contains(&text), "{name} --help hides: {text}");
            }
        }
    }

    #[test]
    fn times_are_prometheus_durations() {
        assert_eq!(time("1m30s"), Ok(Duration::from_secs(90)));
        assert!(time("0").is_err() && time("50ms").is_err() && time("soon").is_err());
    }

    #[test]
    fn each_command_of_inspect_has_forms_of_its_own() {
        use crate::inspect::args::{GoroutineFormat, HeapFormat, Inspect, RefsFormat};
        let forms = |more: &[&str]| {
            let all = ["goroutines", "heap", "refs"].map(|command| {
                let given = [&["unswept", "inspect", command, "4242"], more].concat();
                Arguments::parse_from(given).command
            });
            let [
                Some(Command::Inspect(Inspect::Goroutines(goroutines))),
                Some(Command::Inspect(Inspect::Heap(heap))),
                Some(Command::Inspect(Inspect::Refs(refs))),
            ] = all
            else {
                panic!("other commands");
            };
            (
                goroutines.print.format(),
                heap.print.format(),
                refs.print.format(),
            )
        };
        let default = (GoroutineFormat::Groups, HeapFormat::Text, RefsFormat::Tree);
        assert_eq!(forms(&[]), default);
        let json = (GoroutineFormat::Json, HeapFormat::Json, RefsFormat::Json);
        assert_eq!(forms(&["--json"]), json);
        assert_eq!(forms(&["--format", "json"]), json);
    }

    #[test]
    fn both_answers_may_fail() {
        let given = ["unswept", "diagnose", "shop", "--fail-on", "leak,unsure"];
        let Some(Command::Diagnose(diagnose)) = Arguments::parse_from(given).command else {
            panic!("another command");
        };
        assert_eq!(diagnose.fail_on, [FailOn::Leak, FailOn::Unsure]);
    }
}

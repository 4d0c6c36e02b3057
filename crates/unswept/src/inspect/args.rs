//! What can be asked of `unswept inspect`, and the help that teaches it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

// Each command's text is its arguments': what stood here would hide the rest of it.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Inspect {
    Memstats(MemStats),
    Goroutines(Goroutines),
    Heap(Heap),
    Refs(Refs),
}

/// What is looked into.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The pid of a live Go process (see `unswept ps`), or a core file
    #[arg(value_name = "PID|CORE")]
    pub(crate) target: String,

    /// The executable that the core is of [default: where the process had it]
    #[arg(long, value_name = "FILE")]
    pub(crate) exe: Option<PathBuf>,

    /// Read it with the table of another Go release, 1.MINOR: for toolchains with versions of their
    /// own; a table that does not fit is refused
    #[arg(long, value_name = "MINOR", hide_short_help = true)]
    pub(crate) layout_of: Option<u32>,
}

/// In which form an answer is printed, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Print<F: Format> {
    /// What to print
    // `default_value_t` would keep the first command's default for all of them.
    #[arg(long, value_enum, default_value = F::DEFAULT, value_name = "FORMAT")]
    format: F,

    /// JSON instead of text: short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Write to FILE, which only you can read, in place of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The forms of one command's answer.
pub(crate) trait Format: ValueEnum + Copy + Send + Sync + 'static {
    /// The one for people, as it is written.
    const DEFAULT: &'static str;
    /// The one for programs.
    const JSON: Self;
}

impl<F: Format> Print<F> {
    /// The form asked for.
    pub(crate) fn format(&self) -> F {
        match self.json {
            true => F::JSON,
            false => self.format,
        }
    }
}

impl Format for GoroutineFormat {
    const DEFAULT: &'static str = "groups";
    const JSON: Self = Self::Json;
}

impl Format for HeapFormat {
    const DEFAULT: &'static str = "text";
    const JSON: Self = Self::Json;
}

impl Format for RefsFormat {
    const DEFAULT: &'static str = "tree";
    const JSON: Self = Self::Json;
}

/// The runtime's memory figures: what lives, what is kept, the collector, the limits
///
/// The figures of runtime.ReadMemStats, without its pause: they are read out of the process's
/// memory. Reads only; the target is never stopped and does not notice.
///
/// Cost: about 20 calls of the kernel and 30 KiB a reading, below a millisecond; opening the process
/// takes some milliseconds first, with debug information up to a second for an executable of 100 MB.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept inspect memstats 4242
  unswept inspect memstats 4242 --interval 1s              a line a second, until Ctrl-C
  unswept inspect memstats 4242 --interval 100ms --count 50
  unswept inspect memstats 4242 --json | jq .heap_alloc
  unswept inspect memstats 4242 --interval 5s --json >> figures.jsonl

Who may look: the process's own user (if the process may be dumped, and kernel.yama.ptrace_scope
is 0), or who has CAP_SYS_PTRACE. A refusal says which of these it was.

Exit codes: 0 done; 1 no such process, no permission, or no Go program; 2 usage.")]
pub(crate) struct MemStats {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Read again and again, with this much time in between
    #[arg(long, value_name = "TIME", value_parser = crate::args::time)]
    pub(crate) interval: Option<Duration>,

    /// Stop after so many readings [default: when the process ends]
    #[arg(long, value_name = "N", requires = "interval", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// JSON instead of text (schema unswept/inspect-memstats/1); with --interval one line a reading
    #[arg(long)]
    pub(crate) json: bool,
}

/// Every goroutine: what it does, where, since when, who began it
///
/// Every goroutine with its state, wait reason, stack (inlined calls included), labels, and where it
/// was begun. Goroutines at the same place are one group, the largest first. Reads only; the target
/// is never stopped, so what moves meanwhile is marked approximate, and the stack of a goroutine that
/// is on a processor just then is not known (in a core it is).
///
/// Waiting times are lower bounds: the runtime notes them at the first collection that finds a
/// goroutine parked.
///
/// Cost: some milliseconds; 10,000 goroutines take some tens of milliseconds and ten calls of the
/// kernel.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept inspect goroutines 4242                    groups, the largest first
  unswept inspect goroutines 4242 --format text      each one, as /debug/pprof/goroutine?debug=2
  unswept inspect goroutines 4242 --format pprof -o goroutines.pb.gz
  unswept inspect goroutines core.4242               of a core file, with the stacks of running ones
  unswept inspect goroutines 4242 --all              with those of the runtime itself
  unswept inspect goroutines 4242 --json | jq '.groups[] | select(.count > 100)'

Exit codes: 0 done; 1 no such process, no permission, or no Go program; 2 usage.")]
pub(crate) struct Goroutines {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) print: Print<GoroutineFormat>,

    /// The runtime's own goroutines and frames too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GoroutineFormat {
    /// One stack for all goroutines at the same place
    Groups,
    /// Every goroutine, in the text of Go's own tracebacks
    Text,
    /// Both, for programs (schema unswept/inspect-goroutines/1)
    Json,
    /// The gzipped profile, as /debug/pprof/goroutine sends it
    Pprof,
}

/// The heap profile that the runtime keeps: what /debug/pprof/heap would give
///
/// The runtime samples allocations all the time (one in 512 KiB unless the program says otherwise);
/// this reads those samples out of its memory. The result equals /debug/pprof/heap bucket by bucket,
/// and no endpoint is needed. Reads only; the target is never stopped and does not notice.
///
/// It is as of the collection before the last one, as with the endpoint. A program in which nothing
/// refers to runtime.MemProfile (pprof, or a library that uses it) is linked without this profile;
/// that is said, with what to do.
///
/// Cost: a millisecond for a small program, some tens of milliseconds for 100,000 allocation stacks.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept inspect heap 4242                                  the functions that hold the most
  unswept inspect heap 4242 --sample-type alloc_space --cum  those that ever allocated the most
  unswept inspect heap 4242 --output heap.pb.gz              the file, for any pprof tool
  unswept inspect heap core.4242 --exe ./shop                of a core file
  unswept inspect heap 4242 --format pprof | go tool pprof -http : /dev/stdin
  unswept profile diff before.pb.gz after.pb.gz              what grew between two of them

Exit codes: 0 done; 1 no such process, no permission, no Go program, or no profile is kept; 2 usage.")]
pub(crate) struct Heap {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) print: Print<HeapFormat>,

    /// What to count in the table: inuse_space, inuse_objects, alloc_space or alloc_objects
    #[arg(long, value_name = "NAME", default_value = "inuse_space")]
    pub(crate) sample_type: String,

    /// At most so many functions in the table; 0 for all
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) nodecount: usize,

    /// Order the table by the function with all it called, not by the function alone
    #[arg(long)]
    pub(crate) cum: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeapFormat {
    /// A table of functions, as `go tool pprof -top` prints it; with --output the pprof file
    Text,
    /// Every bucket with its stack (schema unswept/inspect-heap/1)
    Json,
    /// The gzipped profile, as /debug/pprof/heap sends it
    Pprof,
}

/// Who holds the heap: variables, goroutines, timers, with sizes and paths; and what grows
///
/// Walks the heap with the collector's own precision and tells, for each variable, goroutine, timer
/// and finalizer, what would go if it let go: bytes, objects, the paths, the types, and where that
/// was allocated. Works on stripped programs too: variables then have no names, but the functions
/// that use them are told. Below that the goroutines in groups: what they hold, and which of them
/// can never run again; and who holds how many of the open file descriptors, with --diff who holds
/// ever more. Contents of objects and names of files are never shown.
///
/// By default the process runs on and is read twice; what the two looks disagree about is marked
/// with ~. With --pause it is stopped for the copying, at most for --max-pause; with --snapshot it
/// is made to clone itself, and the clone is read. Above 256 MiB of memory with pointers no copy of
/// a clone or core is made: it is read as it is needed, so the clone lives until all is told.
///
/// Cost: only memory with pointers is read, at 1 GB/s and more; finding the holders takes about half
/// a second of CPU and 50 MB per million objects (--low-memory: 26 MB, slower).
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  unswept inspect refs 4242                      the biggest holders as a tree
  unswept inspect refs 4242 --diff 30s           what grew in 30 s: a leak's name
  unswept inspect refs 4242 --json -o before.json
  unswept inspect refs 4242 --against before.json
  unswept inspect refs 4242 --format pprof | go tool pprof -http : /dev/stdin
  unswept inspect refs 4242 --pause --max-pause 500ms

What --snapshot needs: room for the memory that the process writes meanwhile, a free pid, no
seccomp filter that forbids clone (--force goes on all the same). Each is checked first.

Exit codes: 0 done; 1 no such process, no permission, or no Go program; 2 usage.")]
pub(crate) struct Refs {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) print: Print<RefsFormat>,

    /// Look twice, with this much time in between, and tell what grew
    #[arg(long, value_name = "TIME", value_parser = crate::args::time, conflicts_with = "against")]
    pub(crate) diff: Option<Duration>,

    /// Tell what grew since an earlier look, a file that --json wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,

    /// Stop the process while its memory is copied
    #[arg(long, group = "stopping")]
    pub(crate) pause: bool,

    /// The process runs again after this time at the latest
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = pause, requires = "stopping")]
    pub(crate) max_pause: Duration,

    /// Have the process clone itself, and read the clone
    #[arg(long, group = "stopping")]
    pub(crate) snapshot: bool,

    /// With --snapshot: go on although the process filters its system calls
    #[arg(long, requires = "snapshot")]
    pub(crate) force: bool,

    /// Look at the running process once, not twice: half the cost, and nothing tells what moved
    #[arg(long)]
    pub(crate) once: bool,

    /// Holders told; at least 500 by --json and --format pprof
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,

    /// Steps of a path told; at least 12 by --json and --format pprof
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) depth: usize,

    /// Take less memory and more time to find the holders
    #[arg(long)]
    pub(crate) low_memory: bool,

    /// Take at most about so many MiB: a larger copy is refused, and for more objects --low-memory is
    /// taken by itself [default: 16384]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 24))]
    pub(crate) max_memory: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefsFormat {
    /// A tree of holders and paths
    Tree,
    /// All of it, for programs (schema unswept/inspect-refs/1)
    Json,
    /// A gzipped profile whose stacks are the paths, for flame graphs: all that is reached adds up in
    /// it, what --top and --depth leave out in frames called `(others)` or in the step above
    Pprof,
}

/// A pause: long ones are nobody's wish.
fn pause(text: &str) -> Result<Duration, String> {
    match model::duration::parse_duration(text) {
        Ok(time) if time.is_zero() || time > Duration::from_secs(10) => {
            Err("expected 1ms to 10s".into())
        }
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

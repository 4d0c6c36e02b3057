//! What each stage runs.
//!
//! All cargo calls that build tests select the whole workspace and narrow down by target only:
//! another selection of packages means other features, and dependencies built again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Run;
use super::go::GoView;
use super::view::{CargoView, Detail};
use crate::apt;
use crate::counts::Counts;
use crate::process::{Ended, Show, clock, left_behind, output_of, stream};
use crate::{fuzz, tidy, toolchain};

/// The beginnings of the names of tests in tests/e2e, each with its stage.
const E2E_PREFIXES: &[&str] = &["peer_", "story_", "safety_", MEASUREMENT];
/// What is run by `cargo xtask bench` only.
const MEASUREMENT: &str = "bench_";

/// Tests that wait more than they compute: more of them run beside each other than there are processors.
const WAITING: &[&str] = &["story_side_by_side", "safety_hostile"];

/// Tests that wait nearly all their time, one after the other: they run beside the others of their stage.
const BESIDE: &[&str] = &["peer_alertmanager", "peer_ledger", "safety_watcher_kills"];

/// Builds all programs and tests, with the features that `BUILD_TESTS` selects too.
const BUILD_ALL: &[&str] = &["build", "--workspace", "--all-targets", "--locked"];

/// Builds all tests. One selection for all stages: see above.
const BUILD_TESTS: &[&str] = &["test", "--workspace", "--locked", "--no-run"];

/// Go modules with tests of their own.
const GO_MODULES: &[&str] = &["examples/shop", "tests/rename", "tests/targets"];

/// Builds a Go module.
const BUILD_GO: &[&str] = &["build", "-o", "/dev/null", "./..."];

/// A way in which programs that tests look into are built.
struct Form {
    flags: &'static [&'static str],
    arch: &'static str,
    /// Of the oldest and the newest release only.
    of_ends: bool,
}

const fn form(flags: &'static [&'static str], arch: &'static str, of_ends: bool) -> Form {
    Form {
        flags,
        arch,
        of_ends,
    }
}

const FORMS: &[Form] = &[
    form(&["-buildmode=exe"], "amd64", false),
    form(&["-buildmode=pie"], "amd64", false),
    form(&[], "arm64", true),
    // The fuzzer's name no path.
    form(&["-buildmode=exe", "-trimpath"], "amd64", true),
    form(&["-buildmode=pie", "-trimpath"], "amd64", true),
];

/// What they are made of.
const GO_LIBRARY: &[&str] = &["net/http/pprof", "container/list"];

/// What is fed in each run, two parsers beside each other: what looks into programs longest.
const FUZZED: &[&str] = &[
    "memory core --for 60s --beside 2",
    "executable profile wire ledger native reader --for 10s --beside 2",
];

/// Tests ran, and something was wrong with them.
#[derive(Debug)]
pub(super) struct TestsFailed {
    pub(super) counts: Counts,
    pub(super) why: String,
}

impl fmt::Display for TestsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for TestsFailed {}

/// Runs `command`, shows it, and fails if it does.
fn step(
    run: &Run,
    started: Instant,
    command: Command,
    on_line: &mut dyn FnMut(&str) -> Show,
) -> anyhow::Result<()> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let program = words[0].rsplit('/').next().unwrap_or(&words[0]).to_string();
    let text = format!("{program} {}", words[1..].join(" "));
    println!("    $ {text}");
    let patience = run.patience.saturating_sub(started.elapsed());
    match stream(command, patience, on_line)? {
        Ended::Exited(status) if status.success() => Ok(()),
        Ended::Exited(status) => bail!("`{text}` ended with {status}"),
        Ended::Stopped => bail!(
            "`{text}` was stopped: far over budget ({})",
            clock(run.patience)
        ),
    }
}

fn cargo(run: &Run, arguments: &[&str]) -> anyhow::Result<Counts> {
    let mut view = CargoView::new(Detail::All);
    step(
        run,
        Instant::now(),
        run.workspace.cargo(arguments),
        &mut |line| view.line(line),
    )?;
    Ok(Counts::default())
}

pub(super) fn install(run: &mut Run) -> anyhow::Result<Counts> {
    toolchain::ensure_rust_components(&run.workspace)?;
    // Go first: fetching it may bring Python, and the packages come in one go after that.
    let go = toolchain::ensure_go(&run.workspace);
    let seed = run.workspace.seed()?;
    let releases = toolchain::ensure_releases(&run.workspace, &toolchain::releases_of_run(seed));
    let c_compiler = toolchain::ensure_c_compiler();
    let peers = apt::ensure(apt::PEERS);
    // All are tried before the first failure ends the stage, so that one run names all commands.
    let troubles: Vec<String> = [
        go.as_ref().err(),
        releases.as_ref().err(),
        c_compiler.as_ref().err(),
        peers.as_ref().err(),
    ]
    .into_iter()
    .flatten()
    .map(|error| format!("{error:#}"))
    .collect();
    if !troubles.is_empty() {
        bail!("{}", troubles.join("\n"));
    }
    // Again: it notes whether there is a C compiler by now.
    run.go = toolchain::find_go(&run.workspace);
    for need in apt::PEERS {
        if let Some(program) = apt::first_present(need.programs) {
            println!("    {} at {}", need.programs[0], program.display());
        }
    }
    go_libraries(run)?;
    Ok(Counts::default())
}

/// Builds what comes with the toolchains as source: Go's own library in the forms that tests need it in, and the
/// modules that our Go programs stand on, fetched for that. Otherwise the first test of each that needs it does it,
/// and others wait for that.
fn go_libraries(run: &Run) -> anyhow::Result<()> {
    let started = Instant::now();
    let go = run.go.as_ref().context("no Go")?;
    let root = &run.workspace.root;
    for form in FORMS.iter().filter(|form| !form.of_ends) {
        let words = [&["build"], form.flags, GO_LIBRARY].concat();
        let command = go.command(root, &words);
        step(run, started, command, &mut |_| Show::Nothing)?;
    }
    let releases = toolchain::releases_of_run(run.workspace.seed()?);
    for version in &releases {
        let is_end = [releases.first(), releases.last()].contains(&Some(version));
        let forms = FORMS.iter().filter(|form| is_end || !form.of_ends);
        for Form { flags, arch, .. } in forms {
            let mut command = toolchain::pinned(&run.workspace, version);
            command.arg("build").args(*flags).args(GO_LIBRARY);
            go.set_environment(&mut command);
            command
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "")
                .env("GOARCH", arch);
            step(run, started, command, &mut |_| Show::Nothing)?;
        }
    }
    for module in GO_MODULES {
        for cgo in ["0", "1"] {
            let mut command = go.command(&root.join(module), BUILD_GO);
            command.env("CGO_ENABLED", cgo);
            step(run, started, command, &mut |_| Show::Nothing)?;
        }
    }
    Ok(())
}

pub(super) fn format(run: &mut Run) -> anyhow::Result<Counts> {
    cargo(run, &["fmt", "--all", "--check", "--", "--color", "never"])
        .context("to mend: cargo fmt --all")
}

pub(super) fn tidy(run: &mut Run) -> anyhow::Result<Counts> {
    let complaints = tidy::check(&run.workspace)?;
    complaints
        .iter()
        .for_each(|complaint| println!("    {complaint}"));
    match complaints.len() {
        0 => Ok(Counts::default()),
        count => bail!("{count} complaints"),
    }
}

pub(super) fn lint(run: &mut Run) -> anyhow::Result<Counts> {
    cargo(
        run,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    )
}

pub(super) fn docs(run: &mut Run) -> anyhow::Result<Counts> {
    let mut command = run
        .workspace
        .cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    let mut view = CargoView::new(Detail::All);
    step(run, Instant::now(), command, &mut |line| view.line(line))?;
    Ok(Counts::default())
}

pub(super) fn build(run: &mut Run) -> anyhow::Result<Counts> {
    cargo(run, BUILD_ALL)?;
    // The programs that it damages are made with its first round.
    fuzz_run(run, Instant::now(), "memory --for 1s")?;
    Ok(Counts::default())
}

/// What measurements and soaks run, as users do.
pub(super) fn release(run: &mut Run) -> anyhow::Result<Counts> {
    cargo(
        run,
        &["build", "--package", "unswept", "--release", "--locked"],
    )
}

pub(super) fn unit(run: &mut Run) -> anyhow::Result<Counts> {
    let started = Instant::now();
    let mut counts = Counts::default();
    let names = unit_tests(run)?;
    let mut arguments = vec!["--lib", "--bins"];
    for name in &names {
        arguments.extend(["--test", name]);
    }
    let tests = cargo_test(run, started, &arguments, &mut counts);
    let docs = cargo_test(run, started, &["--doc"], &mut counts);
    conclude(counts, tests.and(docs), true)
}

pub(super) fn peers(run: &mut Run) -> anyhow::Result<Counts> {
    let started = Instant::now();
    let mut counts = Counts::default();
    let go = go_modules(run, started, &mut counts);
    let rust = e2e(run, started, "peer_", &mut counts);
    conclude(counts, go.and(rust), false)
}

pub(super) fn end_to_end(run: &mut Run) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let outcome = e2e(run, Instant::now(), "story_", &mut counts);
    conclude(counts, outcome, false)
}

pub(super) fn safety(run: &mut Run) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let started = Instant::now();
    let outcome = e2e(run, started, "safety_", &mut counts);
    let mut fuzzed = FUZZED.iter();
    let fuzzed = fuzzed.try_for_each(|words| fuzz_run(run, started, words));
    conclude(counts, outcome.and(fuzzed), false)
}

fn fuzz_run(run: &Run, started: Instant, words: &str) -> anyhow::Result<()> {
    let mut command = fuzz::command(&run.workspace, "debug");
    command.args(words.split(' '));
    step(run, started, command, &mut |_| Show::Line)
}

/// A stage of tests: its counts, or what went wrong with them.
fn conclude(
    counts: Counts,
    outcome: anyhow::Result<()>,
    must_count: bool,
) -> anyhow::Result<Counts> {
    let left = left_behind(Duration::from_secs(5));
    let why = match outcome {
        Err(error) => format!("{error:#}"),
        Ok(()) if !left.is_empty() => {
            let names: Vec<String> = left
                .iter()
                .map(|process| format!("{} ({})", process.name, process.pid))
                .collect();
            format!(
                "processes were left running (ended now): {}",
                names.join(", ")
            )
        }
        Ok(()) if must_count && counts.is_empty() => "cargo reported no test at all".to_string(),
        Ok(()) => return Ok(counts),
    };
    Err(anyhow::Error::new(TestsFailed { counts, why }))
}

/// `cargo test` over the workspace, narrowed down by `targets`.
fn cargo_test(
    run: &Run,
    started: Instant,
    targets: &[&str],
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let mut arguments = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
    arguments.extend_from_slice(targets);
    // Tests that pass are heard too: one of them may have to say `SKIP:`.
    arguments.extend(["--", "--show-output"]);
    let mut command = run.workspace.cargo(&arguments);
    set_environment(run, &mut command);
    let mut view = CargoView::new(Detail::Results);
    step(run, started, command, &mut |line| {
        counts.cargo_line(line);
        view.line(line)
    })
}

/// The tests of tests/e2e whose names begin with `prefix`, if there are any yet.
///
/// `cargo test --test 'story_*'` would resolve features for e2e alone and build many dependencies once
/// more. So cargo builds what it has built before, names the programs, and we run them as it would.
fn e2e(run: &Run, started: Instant, prefix: &str, counts: &mut Counts) -> anyhow::Result<()> {
    let begins = |program: &Path, with: &str| {
        let name = program.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(with)
    };
    let programs = e2e_programs(run, started, prefix)?;
    let (beside, others): (Vec<PathBuf>, Vec<PathBuf>) = programs
        .into_iter()
        .partition(|program| BESIDE.iter().any(|name| begins(program, name)));
    let each = |programs: Vec<PathBuf>| {
        let (mut counts, mut outcome) = (Counts::default(), Ok(()));
        for program in programs {
            let variables: &[(&str, &str)] = match WAITING.iter().any(|name| begins(&program, name))
            {
                true => &[("RUST_TEST_THREADS", "3")],
                false => &[],
            };
            let done = e2e_run(run, started, &program, variables, &mut counts);
            outcome = outcome.and(done);
        }
        (counts, outcome)
    };
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| each(beside));
        let (these, outcome) = each(others);
        let lost = |_| {
            (
                Counts::default(),
                Err(anyhow::anyhow!("{BESIDE:?} broke their runner")),
            )
        };
        let (those, also) = beside.join().unwrap_or_else(lost);
        counts.add(&these);
        counts.add(&those);
        outcome.and(also)
    })
}

/// Builds the tests of tests/e2e whose names begin with `prefix`.
pub(super) fn e2e_programs(
    run: &Run,
    started: Instant,
    prefix: &str,
) -> anyhow::Result<Vec<PathBuf>> {
    let names = test_names(run)?;
    if !names
        .iter()
        .any(|(package, name)| package == "e2e" && name.starts_with(prefix))
    {
        println!("    no tests/e2e/tests/{prefix}*.rs");
        return Ok(Vec::new());
    }
    let mut programs: Vec<PathBuf> = Vec::new();
    let mut arguments = BUILD_TESTS.to_vec();
    arguments.push("--message-format=json-render-diagnostics");
    let mut view = CargoView::new(Detail::All);
    step(run, started, run.workspace.cargo(&arguments), &mut |line| {
        if !line.starts_with('{') {
            return view.line(line);
        }
        programs.extend(e2e_program(line, prefix));
        Show::Nothing
    })?;
    programs.sort();
    Ok(programs)
}

/// Runs one of them, with more variables in its environment.
pub(super) fn e2e_run(
    run: &Run,
    started: Instant,
    program: &Path,
    variables: &[(&str, &str)],
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let folder = run.workspace.root.join("tests/e2e");
    let mut command = Command::new(program);
    command
        .arg("--nocapture")
        .current_dir(&folder)
        .env("CARGO_MANIFEST_DIR", &folder)
        .envs(variables.iter().copied());
    set_environment(run, &mut command);
    let mut view = CargoView::new(Detail::All);
    step(run, started, command, &mut |line| {
        counts.cargo_line(line);
        view.line(line)
    })
}

/// The program in one of cargo's JSON messages, if it is a test of e2e with that prefix.
fn e2e_program(line: &str, prefix: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let target = &message["target"];
    let ours = message["manifest_path"]
        .as_str()?
        .ends_with("/tests/e2e/Cargo.toml")
        && target["kind"].as_array()?.contains(&"test".into())
        && target["name"].as_str()?.starts_with(prefix);
    ours.then(|| message["executable"].as_str().map(PathBuf::from))?
}

fn go_modules(run: &Run, started: Instant, counts: &mut Counts) -> anyhow::Result<()> {
    let go = run.go.as_ref().context("no Go")?;
    let mut outcome = Ok(());
    for module in GO_MODULES {
        let folder = run.workspace.root.join(module);
        if !folder.join("go.mod").is_file() {
            continue;
        }
        println!("    {module}:");
        let mut without_cgo = go.command(&folder, BUILD_GO);
        without_cgo.env("CGO_ENABLED", "0");
        let mut vet = go.command(&folder, &["vet", "./..."]);
        vet.env("CGO_ENABLED", "1");
        let mut test = go.command(&folder, &["test", "-json", "-count=1", "./..."]);
        test.env("CGO_ENABLED", "1");
        set_environment(run, &mut test);
        for command in [without_cgo, vet, test] {
            let mut view = GoView::default();
            let done = step(run, started, command, &mut |line| view.line(line));
            counts.add(&view.counts);
            if let Err(error) = done {
                println!("    {error:#}");
                outcome = Err(error.context(format!("in {module}")));
            }
        }
    }
    outcome
}

/// What the tests find in their environment: where the things are that they run.
fn set_environment(run: &Run, command: &mut Command) {
    command.env("UNSWEPT_BIN", &run.unswept);
    command.env("UNSWEPT_SHOP_DIR", run.workspace.shop());
    command.env("UNSWEPT_GO_RELEASES", run.workspace.tools());
    // So that the tests pick the releases that were installed for them.
    if let Ok(seed) = run.workspace.seed() {
        command.env("UNSWEPT_SEED", seed.to_string());
    }
    if let Some(chromium) = apt::first_present(apt::PEERS[0].programs) {
        command.env("UNSWEPT_CHROMIUM", chromium);
    }
    if let Some(go) = &run.go {
        go.set_environment(command);
    }
}

/// The integration tests of all crates but those of tests/e2e, which have stages of their own.
fn unit_tests(run: &Run) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for (package, name) in test_names(run)? {
        let staged = E2E_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        match (package == "e2e", staged) {
            (true, false) => bail!(
                "tests/e2e/tests/{name}.rs belongs to no stage; begin its name with one of {}",
                E2E_PREFIXES.join(", ")
            ),
            (false, true) => {
                bail!("the test {name} of {package} would run with tests/e2e; give it another name")
            }
            (true, true) => {}
            (false, false) if names.contains(&name) => {}
            (false, false) => names.push(name),
        }
    }
    Ok(names)
}

/// Package and name of all integration tests.
fn test_names(run: &Run) -> anyhow::Result<Vec<(String, String)>> {
    let mut command =
        run.workspace
            .cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let text = output_of(&mut command).context("`cargo metadata` failed")?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("`cargo metadata` printed no JSON")?;
    let mut names = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_test = target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.contains(&"test".into()));
            if let (true, Some(package), Some(name)) =
                (is_test, package["name"].as_str(), target["name"].as_str())
            {
                names.push((package.to_string(), name.to_string()));
            }
        }
    }
    Ok(names)
}

//! A made-up fleet with one of everything that the pages have to show. It also feeds the tests.

#[path = "made_up_holders.rs"]
mod made_up_holders;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::fleet::{FleetView, Health, OwnCost, OwnProcess, OwnSeries, Shed, TargetView};
use model::incident::{Event, EvidenceRef, SCHEMA as INCIDENT_SCHEMA};
use model::series::{BoxFuture, QueryResult, ReadError};
use model::verdict::{Advice, SCHEMA, TimeToLimit, Window};
use model::{
    BootId, Command, CommandOutcome, Commands, Component, ContainerMemory, EffectiveLimit,
    EvidenceKind, Finding, FleetRead, GcSettings, GoMemory, Growth, Incident, IncidentId,
    IncidentState, Judgement, Kind, Labels, Ledger, LedgerBasis, Mark, MarkKind, Pid,
    ProcessMemory, Query, Reason, Revision, Sample, Series, Setting, SettingSource, Suspect,
    SuspectWhat, Target, TargetId, TargetState, UnixMs, Verdict, Workload,
};
use profile::{LocationRef, ProfileBuilder};

/// 2026-11-22T09:00:00Z, when the made-up story begins.
pub(crate) const START: UnixMs = UnixMs(1_795_338_000_000);
const MIB: f64 = 1_048_576.0;

/// The watcher that does not run.
#[derive(Default)]
pub(crate) struct MadeUp {
    /// How far the story has got.
    pub(crate) minutes: AtomicU64,
}

/// What a service does.
struct Service {
    name: &'static str,
    pid: u32,
    module: &'static str,
    go: &'static str,
    state: TargetState,
    verdict: Judgement,
    kind: Option<Kind>,
    confidence: Option<f64>,
    /// Component, bytes at the start in MiB, growth in MiB a minute.
    lines: &'static [(&'static str, f64, f64)],
    goroutines: (f64, f64),
    limit_mib: Option<f64>,
    why: &'static [(&'static str, Judgement, &'static str)],
    advice: Option<(&'static str, &'static str)>,
}

const FOR: Judgement = Judgement::Leak;
const AGAINST: Judgement = Judgement::NoLeak;

fn services() -> Vec<Service> {
    let calm = |name, pid, kind, confidence, lines, goroutines, why| Service {
        name,
        pid,
        module: "example.com/platform",
        go: "go1.25.4",
        state: TargetState::Up,
        verdict: Judgement::NoLeak,
        kind: Some(kind),
        confidence: Some(confidence),
        lines,
        goroutines: (goroutines, 0.0),
        limit_mib: Some(512.0),
        why,
        advice: None,
    };
    vec![
        Service {
            name: "billing-api",
            pid: 41_207,
            module: "example.com/billing",
            go: "go1.27.3",
            state: TargetState::Up,
            verdict: Judgement::Leak,
            kind: Some(Kind::GoHeap),
            confidence: Some(0.984),
            lines: &[
                ("go.live", 122.0, 5.1),
                ("go.since-gc", 48.0, 0.4),
                ("go.fragmentation", 7.0, 0.1),
                ("go.idle", 19.0, 0.0),
                ("go.stacks", 4.0, 0.0),
                ("go.runtime", 11.0, 0.05),
                ("anon-rest", 6.0, 0.0),
                ("file", 21.0, 0.0),
                ("shmem", 0.0, 0.0),
                ("unexplained", 2.2, 0.0),
            ],
            goroutines: (184.0, 0.0),
            limit_mib: Some(1024.0),
            why: &[
                (
                    "live-floor-rises",
                    FOR,
                    "The live heap after GC rose by 163 MiB over 32 min (5.1 MiB/min, 95 % interval 4.9 MiB to 5.3 MiB), through 61 collections in a row.",
                ),
                (
                    "grows-evenly",
                    FOR,
                    "It grows evenly: its slowest quarter has 91 % of the speed of its fastest, and the last one 97 %. What fills up or warms up slows down.",
                ),
                ("load-unrelated", FOR, "No load level rose with it."),
                (
                    "young",
                    AGAINST,
                    "The process is 1 h 10 min old; a cache of a day could still be filling.",
                ),
            ],
            advice: Some((
                "set-gomemlimit",
                "The limit is 1.0 GiB and GOMEMLIMIT is not set: the heap may reach twice the live size before the next collection. Setting it does not mend a leak.",
            )),
        },
        Service {
            name: "mailer",
            pid: 40_112,
            module: "example.com/mailer",
            go: "go1.26.1",
            state: TargetState::Up,
            verdict: Judgement::Leak,
            kind: Some(Kind::Goroutine),
            confidence: Some(0.97),
            lines: &[
                ("go.live", 61.0, 0.9),
                ("go.since-gc", 22.0, 0.0),
                ("go.idle", 9.0, 0.0),
                ("go.stacks", 38.0, 1.1),
                ("go.runtime", 8.0, 0.1),
                ("anon-rest", 3.0, 0.0),
                ("file", 17.0, 0.0),
                ("unexplained", 0.8, 0.0),
            ],
            goroutines: (4_812.0, 118.0),
            limit_mib: Some(768.0),
            why: &[
                (
                    "goroutines-rise",
                    FOR,
                    "Goroutines rose by 3776 over 32 min (118.0 a minute, 95 % interval 115.2 to 120.9).",
                ),
                (
                    "heap-follows-goroutines",
                    FOR,
                    "The live heap grows with the goroutines, 7.8 KiB for each: they hold it.",
                ),
            ],
            advice: Some((
                "look-at-goroutines",
                "Group the goroutines by stack: the group that grows shows the line where they are stuck. Look for a channel nobody reads, a missing cancel or timeout, a body left unread.",
            )),
        },
        Service {
            name: "imaging",
            pid: 38_990,
            module: "example.com/imaging",
            go: "go1.26.1",
            state: TargetState::NoEndpoint,
            verdict: Judgement::Leak,
            kind: Some(Kind::NativeHeap),
            confidence: Some(0.95),
            lines: &[
                ("go.live", 33.0, 0.0),
                ("go.since-gc", 20.0, 0.0),
                ("go.stacks", 2.0, 0.0),
                ("go.runtime", 7.0, 0.0),
                ("native.heap", 210.0, 2.4),
                ("native.mmap", 4.0, 0.0),
                ("native.stacks", 1.0, 0.0),
                ("file", 44.0, 0.0),
                ("unexplained", -1.4, 0.0),
            ],
            goroutines: (41.0, 0.0),
            limit_mib: Some(2048.0),
            why: &[
                (
                    "native-heap-rises",
                    FOR,
                    "Memory of the C allocators rose by 76.8 MiB over 32 min (2.4 MiB/min, 95 % interval 2.2 MiB to 2.6 MiB).",
                ),
                (
                    "go-is-flat",
                    FOR,
                    "Go's own memory accounts for 1 % of the growth of anonymous memory.",
                ),
            ],
            advice: Some((
                "needs-tracing",
                "Which line allocates: needs tracing of malloc. Go's heap profile does not see C memory.",
            )),
        },
        Service {
            state: TargetState::EndpointFailing {
                reason: "http://127.0.0.1:9102/metrics sent nothing for 10 s".into(),
            },
            verdict: Judgement::Unsure,
            confidence: None,
            ..calm(
                "exporter",
                2_204,
                Kind::Steady,
                0.0,
                &[("anon-rest", 31.0, 0.02), ("file", 12.0, 0.0)],
                0.0,
                &[(
                    "no-access",
                    Judgement::Unsure,
                    "Only the resident size is seen, not what it is made of: give access to the Go metrics or to the process.",
                )],
            )
        },
        calm(
            "gateway",
            1_877,
            Kind::Load,
            0.93,
            &[
                ("go.live", 180.0, 0.6),
                ("go.since-gc", 90.0, 0.3),
                ("go.stacks", 24.0, 0.1),
                ("file", 20.0, 0.0),
                ("unexplained", 1.0, 0.0),
            ],
            2_210.0,
            &[(
                "follows-load",
                AGAINST,
                "It follows the load: the load explains 94 % of its changes.",
            )],
        ),
        calm(
            "catalogue",
            1_912,
            Kind::Plateau,
            0.96,
            &[
                ("go.live", 240.0, 0.0),
                ("go.since-gc", 70.0, 0.0),
                ("go.idle", 30.0, 0.0),
                ("file", 18.0, 0.0),
                ("unexplained", 1.0, 0.0),
            ],
            96.0,
            &[(
                "levelled-off",
                AGAINST,
                "It rose by 188 MiB and has been level for 41 min.",
            )],
        ),
        calm(
            "reports",
            1_950,
            Kind::GcSawtooth,
            0.95,
            &[
                ("go.live", 40.0, 0.0),
                ("go.since-gc", 80.0, 0.0),
                ("file", 15.0, 0.0),
            ],
            33.0,
            &[(
                "sawtooth-only",
                AGAINST,
                "HeapAlloc swings by 84.0 MiB between collections; the floor they leave behind does not rise.",
            )],
        ),
        calm(
            "archive",
            2_011,
            Kind::PageCache,
            0.9,
            &[
                ("go.live", 12.0, 0.0),
                ("go.since-gc", 9.0, 0.0),
                ("file", 160.0, 3.0),
            ],
            18.0,
            &[(
                "file-pages",
                AGAINST,
                "File pages rose by 96.0 MiB: page cache, which the kernel takes back when memory is short.",
            )],
        ),
        calm(
            "auth",
            2_040,
            Kind::Steady,
            0.97,
            &[
                ("go.live", 22.0, 0.0),
                ("go.since-gc", 14.0, 0.0),
                ("file", 14.0, 0.0),
                ("unexplained", 0.4, 0.0),
            ],
            61.0,
            &[(
                "steady",
                AGAINST,
                "It changed by 1.2 MiB over 32 min, less than what would count (8.0 MiB).",
            )],
        ),
        calm(
            "scheduler",
            2_041,
            Kind::Steady,
            0.97,
            &[
                ("go.live", 9.0, 0.0),
                ("go.since-gc", 6.0, 0.0),
                ("file", 11.0, 0.0),
            ],
            24.0,
            &[(
                "steady",
                AGAINST,
                "It changed by 0.4 MiB over 32 min, less than what would count (8.0 MiB).",
            )],
        ),
        Service {
            state: TargetState::NoPermission {
                hint: "run unswept as root, or give the binary CAP_SYS_PTRACE".into(),
            },
            ..calm(
                "<script>alert('legacy')</script>",
                977,
                Kind::Steady,
                0.0,
                &[],
                0.0,
                &[],
            )
        },
        Service {
            state: TargetState::Gone {
                at: UnixMs(START.0 - 1_260_000),
            },
            ..calm(
                "importer",
                35_115,
                Kind::Step,
                0.9,
                &[("go.live", 71.0, 0.0), ("go.since-gc", 12.0, 0.0)],
                12.0,
                &[(
                    "one-step",
                    AGAINST,
                    "It rose by 44.0 MiB in one step, then stayed.",
                )],
            )
        },
    ]
}

fn id(service: &Service) -> TargetId {
    TargetId(model::target::fingerprint(&["preview", service.name]))
}

fn mib(value: f64) -> i64 {
    (value * MIB) as i64
}

/// A line's size at a time: growth since an hour before the start, and the collector's teeth.
fn size(service: &Service, line: &(&str, f64, f64), at: UnixMs) -> f64 {
    let (name, base, per_minute) = *line;
    let minute = (at.0 - START.0) as f64 / 60_000.0;
    let wobble = (minute * 1.7 + base).sin() * 0.01;
    match name {
        "go.since-gc" => base * (0.35 + 0.65 * (minute * 0.37 + base).rem_euclid(1.0)),
        "go.live" if service.kind == Some(Kind::Plateau) => {
            base * (1.0 - (-(minute + 110.0) / 30.0).exp())
        }
        "go.live" if service.kind == Some(Kind::Load) => base * (1.0 + 0.3 * (minute / 18.0).sin()),
        _ if per_minute == 0.0 => base * (1.0 + wobble),
        // Growth began 32 minutes before the start.
        _ => base + per_minute * (minute + 32.0).max(0.0) + base * wobble,
    }
}

fn target(service: &Service, at: UnixMs) -> TargetView {
    let sizes: Vec<_> = service
        .lines
        .iter()
        .map(|line| (line, size(service, line, at)))
        .collect();
    let total: f64 = sizes.iter().map(|(_, size)| size).sum();
    let growth: f64 = service.lines.iter().map(|line| line.2).sum();
    let seen = !matches!(service.state, TargetState::NoPermission { .. });
    let components: Vec<_> = sizes
        .iter()
        .map(|(line, size)| Component {
            name: line.0.into(),
            bytes: mib(*size),
            bytes_per_minute: Some(line.2 * MIB),
            growth_share: (growth > 0.0).then(|| line.2 / growth),
            at: None,
        })
        .collect();
    let unexplained = components
        .iter()
        .find(|line| line.name == "unexplained")
        .map_or(0, |line| line.bytes);
    let minute = (at.0 - START.0) as f64 / 60_000.0;
    let goroutines = service.goroutines.0 + service.goroutines.1 * minute;
    let target = Target {
        id: id(service),
        name: service.name.into(),
        process: None,
        pid: Some(Pid(service.pid)),
        start_time: Some(UnixMs(START.0 - 4_200_000)),
        host: "node-7".into(),
        boot_id: Some(BootId("2f6c-preview".into())),
        url: matches!(service.state, TargetState::Up)
            .then(|| format!("http://127.0.0.1:{}", 6000 + service.pid % 100)),
        url_inside: false,
        container: None,
        container_id: None,
        image: None,
        pod: None,
        workload: Workload(format!("{}.service", service.name)),
        revision: Revision("9f31c0de".into()),
        go_version: Some(service.go.into()),
        module: Some(service.module.into()),
        labels: Labels::default(),
    };
    let verdict = seen.then(|| {
        verdict(
            service,
            target.clone(),
            components.clone(),
            total,
            growth,
            goroutines,
            at,
        )
    });
    let is_open = service.verdict == Judgement::Leak;
    let has_rest = components.iter().any(|line| line.name == "anon-rest");
    TargetView {
        target,
        state: service.state.clone(),
        process: seen.then(|| ProcessMemory {
            at,
            rss_bytes: mib(total) as u64,
            threads: 19,
            fds: Some(74),
            ..ProcessMemory::default()
        }),
        container: service.limit_mib.map(|limit| ContainerMemory {
            at,
            usage_bytes: mib(total) as u64,
            limit_bytes: Some(mib(limit) as u64),
            limit_source: Some("memory.max".into()),
            path: format!("/system.slice/{}.service", service.name),
            ..ContainerMemory::default()
        }),
        container_ledger: None,
        limit: EffectiveLimit {
            bytes: service.limit_mib.map(|limit| mib(limit) as u64),
            source: service.limit_mib.map(|_| "memory.max".into()),
            used_bytes: Some(mib(total) as u64),
        },
        go: (service.goroutines.0 > 0.0).then(|| GoMemory {
            at,
            goroutines: Some(goroutines),
            ..GoMemory::default()
        }),
        settings: GcSettings {
            gogc_percent: Some(Setting {
                value: Some(100.0),
                source: SettingSource::Metrics,
            }),
            gomemlimit_bytes: None,
        },
        ledger: seen.then(|| Ledger {
            at,
            total_bytes: mib(total) as u64,
            components: components
                .into_iter()
                .filter(|line| line.name != "unexplained")
                .collect(),
            unexplained_bytes: unexplained,
            outside: vec![
                Component::new("go.not-resident", mib(3.0)),
                Component::new("huge-pages", mib(14.0)),
            ],
            live_source: "next-gc".into(),
            skew_ms: 41,
            basis: match has_rest {
                true => LedgerBasis::None,
                false => LedgerBasis::Mappings,
            },
        }),
        verdict,
        incidents: if is_open {
            vec![incident_id(service)]
        } else {
            vec![]
        },
        series: [
            ("rate:rpc_calls_total", 48.25),
            ("gauge:jobs_waiting", 312.0),
        ]
        .map(|(source, value)| OwnSeries {
            source: source.into(),
            value,
        })
        .into(),
        probes: match service.state {
            TargetState::Up => vec![format!(
                "port {}: GET /debug/pprof/ answered 200",
                6000 + service.pid % 100
            )],
            _ => vec![],
        },
        last_read: seen.then_some(UnixMs(at.0 - 4000)),
    }
}

fn verdict(
    service: &Service,
    target: Target,
    components: Vec<Component>,
    total: f64,
    growth: f64,
    goroutines: f64,
    at: UnixMs,
) -> Verdict {
    let leaks = service.verdict == Judgement::Leak;
    let (unit, per_minute) = match service.kind {
        Some(Kind::Goroutine) => ("goroutines", service.goroutines.1),
        _ => ("bytes", growth * MIB),
    };
    let seconds = service
        .limit_mib
        .filter(|_| leaks)
        .map(|limit| (limit - total).max(0.0) / growth * 60.0);
    let kind = service
        .kind
        .filter(|_| service.verdict != Judgement::Unsure);
    let finding = Finding {
        verdict: service.verdict,
        kind,
        confidence: service.confidence,
        onset: leaks.then_some(UnixMs(START.0 - 1_920_000)),
        growth: (per_minute > 0.0).then(|| Growth {
            unit: unit.into(),
            per_minute,
            low: per_minute * 0.96,
            high: per_minute * 1.05,
            level: 0.95,
        }),
        why: service
            .why
            .iter()
            .map(|(code, speaks_for, text)| Reason {
                code: (*code).into(),
                speaks_for: *speaks_for,
                values: BTreeMap::from([("minutes".into(), 32.0)]),
                text: (*text).into(),
            })
            .collect(),
        suspects: suspects(service, goroutines),
        advice: service
            .advice
            .iter()
            .map(|(code, text)| Advice {
                code: (*code).into(),
                values: BTreeMap::new(),
                text: (*text).into(),
            })
            .collect(),
    };
    let mut verdict = Verdict {
        schema: SCHEMA.into(),
        id: model::target::fingerprint(&["verdict", service.name]),
        at,
        window: Window {
            from: UnixMs(at.0 - 1_920_000),
            to: at,
        },
        target,
        verdict: service.verdict,
        kind,
        confidence: service.confidence,
        limit_bytes: service.limit_mib.map(|limit| mib(limit) as u64),
        limit_source: service.limit_mib.map(|_| "memory.max".into()),
        seconds_to_limit: seconds.map(|estimate| TimeToLimit {
            estimate,
            low: estimate * 0.95,
            high: estimate * 1.06,
        }),
        components,
        findings: vec![finding],
        suspects: vec![],
        evidence: vec![],
    };
    verdict.collect_suspects();
    verdict
}

fn suspects(service: &Service, goroutines: f64) -> Vec<Suspect> {
    let suspect = |what, function: &str, file: Option<&str>, line| Suspect {
        rank: 1,
        what,
        function: function.into(),
        file: file.map(Into::into),
        line,
        bytes: None,
        count: None,
        bytes_before: None,
        count_before: None,
        growth_share: None,
        stack: vec![],
        held_by: None,
        holder: None,
        note: None,
    };
    let bytes = |value: f64| Some(mib(value) as u64);
    match service.kind {
        Some(Kind::GoHeap) => vec![
            Suspect {
                bytes: bytes(268.0),
                count: Some(91_400),
                bytes_before: bytes(105.0),
                count_before: Some(35_900),
                growth_share: Some(0.97),
                stack: HEAP[0]
                    .0
                    .iter()
                    .map(|(f, file, l)| format!("{f} {file}:{l}"))
                    .collect(),
                held_by: Some("main.invoices.byCustomer[...]".into()),
                ..suspect(
                    SuspectWhat::Allocation,
                    "main.(*invoiceIndex).Remember",
                    Some("/src/billing/invoice_index.go"),
                    Some(88),
                )
            },
            Suspect {
                rank: 2,
                bytes: bytes(11.2),
                bytes_before: bytes(8.1),
                count: Some(640),
                count_before: Some(610),
                growth_share: Some(0.02),
                stack: HEAP[1]
                    .0
                    .iter()
                    .map(|(f, file, l)| format!("{f} {file}:{l}"))
                    .collect(),
                ..suspect(
                    SuspectWhat::Allocation,
                    "main.renderPDF",
                    Some("/src/billing/pdf.go"),
                    Some(214),
                )
            },
        ],
        Some(Kind::Goroutine) => vec![Suspect {
            count: Some(goroutines as u64 - 60),
            count_before: Some(1_010),
            growth_share: Some(0.99),
            stack: GOROUTINES[0]
                .0
                .iter()
                .map(|(f, file, l)| format!("{f} {file}:{l}"))
                .collect(),
            note: Some("All wait in chan send for 4 min to 32 min: nobody receives.".into()),
            ..suspect(
                SuspectWhat::Goroutine,
                "example.com/mailer/queue.(*Sender).deliver",
                Some("/src/mailer/queue/sender.go"),
                Some(117),
            )
        }],
        Some(Kind::NativeHeap) => vec![Suspect {
            bytes: bytes(286.0),
            bytes_before: bytes(210.0),
            growth_share: Some(0.98),
            note: Some("Which line allocates: needs tracing of malloc.".into()),
            ..suspect(SuspectWhat::Mapping, "glibc arena", None, None)
        }],
        _ => vec![],
    }
}

type Stack = &'static [(&'static str, &'static str, i64)];

const HEAP: &[(Stack, [i64; 2])] = &[
    (
        &[
            (
                "main.(*invoiceIndex).Remember",
                "/src/billing/invoice_index.go",
                88,
            ),
            ("main.(*api).closeInvoice", "/src/billing/api.go", 152),
            (
                "net/http.HandlerFunc.ServeHTTP",
                "/go/src/net/http/server.go",
                2322,
            ),
            (
                "net/http.(*ServeMux).ServeHTTP",
                "/go/src/net/http/server.go",
                2861,
            ),
            (
                "net/http.serverHandler.ServeHTTP",
                "/go/src/net/http/server.go",
                3340,
            ),
            ("net/http.(*conn).serve", "/go/src/net/http/server.go", 2109),
        ],
        [105, 268],
    ),
    (
        &[
            ("bytes.growSlice", "/go/src/bytes/buffer.go", 249),
            ("bytes.(*Buffer).Write", "/go/src/bytes/buffer.go", 179),
            ("main.renderPDF", "/src/billing/pdf.go", 214),
            ("main.(*api).closeInvoice", "/src/billing/api.go", 140),
            (
                "net/http.HandlerFunc.ServeHTTP",
                "/go/src/net/http/server.go",
                2322,
            ),
            (
                "net/http.(*ServeMux).ServeHTTP",
                "/go/src/net/http/server.go",
                2861,
            ),
            (
                "net/http.serverHandler.ServeHTTP",
                "/go/src/net/http/server.go",
                3340,
            ),
            ("net/http.(*conn).serve", "/go/src/net/http/server.go", 2109),
        ],
        [8, 11],
    ),
    (
        &[
            (
                "encoding/json.(*decodeState).objectInterface",
                "/go/src/encoding/json/decode.go",
                1081,
            ),
            (
                "encoding/json.Unmarshal",
                "/go/src/encoding/json/decode.go",
                113,
            ),
            ("main.loadTariffs", "/src/billing/tariffs.go", 33),
            ("main.main", "/src/billing/main.go", 41),
            ("runtime.main", "/go/src/runtime/proc.go", 285),
        ],
        [14, 14],
    ),
    (
        &[
            ("bufio.NewReaderSize", "/go/src/bufio/bufio.go", 57),
            ("net/http.newBufioReader", "/go/src/net/http/server.go", 855),
            ("net/http.(*conn).serve", "/go/src/net/http/server.go", 2000),
        ],
        [3, 3],
    ),
    (
        &[
            (
                "compress/flate.NewWriter",
                "/go/src/compress/flate/deflate.go",
                666,
            ),
            ("main.(*api).export", "/src/billing/export.go", 61),
            (
                "net/http.HandlerFunc.ServeHTTP",
                "/go/src/net/http/server.go",
                2322,
            ),
            (
                "net/http.(*ServeMux).ServeHTTP",
                "/go/src/net/http/server.go",
                2861,
            ),
            (
                "net/http.serverHandler.ServeHTTP",
                "/go/src/net/http/server.go",
                3340,
            ),
            ("net/http.(*conn).serve", "/go/src/net/http/server.go", 2109),
        ],
        [19, 6],
    ),
];

const GOROUTINES: &[(Stack, [i64; 2])] = &[
    (
        &[
            ("runtime.gopark", "/go/src/runtime/proc.go", 461),
            ("runtime.chansend", "/go/src/runtime/chan.go", 283),
            ("runtime.chansend1", "/go/src/runtime/chan.go", 161),
            (
                "example.com/mailer/queue.(*Sender).deliver",
                "/src/mailer/queue/sender.go",
                117,
            ),
            (
                "example.com/mailer/queue.(*Sender).Enqueue.func1",
                "/src/mailer/queue/sender.go",
                84,
            ),
        ],
        [1_010, 4_752],
    ),
    (
        &[
            ("runtime.gopark", "/go/src/runtime/proc.go", 461),
            ("runtime.netpollblock", "/go/src/runtime/netpoll.go", 575),
            (
                "internal/poll.runtime_pollWait",
                "/go/src/runtime/netpoll.go",
                351,
            ),
            ("net.(*conn).Read", "/go/src/net/net.go", 194),
            ("net/http.(*conn).serve", "/go/src/net/http/server.go", 2092),
        ],
        [48, 52],
    ),
    (
        &[
            ("runtime.gopark", "/go/src/runtime/proc.go", 461),
            ("runtime.selectgo", "/go/src/runtime/select.go", 351),
            ("main.(*ticker).loop", "/src/mailer/ticker.go", 31),
        ],
        [8, 8],
    ),
];

fn heap_profile(side: usize) -> Vec<u8> {
    let mut made = ProfileBuilder::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
    for (stack, values) in HEAP {
        let stack = locations(&mut made, stack);
        made.sample(&stack, &[values[side] * 340, mib(values[side] as f64)]);
    }
    written(made)
}

fn goroutine_profile(side: usize) -> Vec<u8> {
    let mut made = ProfileBuilder::new(&[("goroutine", "count")]);
    for (stack, values) in GOROUTINES {
        let stack = locations(&mut made, stack);
        made.sample(&stack, &[values[side]]);
    }
    written(made)
}

fn locations(made: &mut ProfileBuilder, stack: Stack) -> Vec<LocationRef> {
    let location = |(function, file, line): &(&str, &str, i64)| {
        let function = made.function(function, file, 1);
        made.location(0, &[(function, *line)])
    };
    stack.iter().map(location).collect()
}

fn written(made: ProfileBuilder) -> Vec<u8> {
    made.build()
        .map(|profile| profile.to_gzip())
        .unwrap_or_default()
}

/// An evidence file's bytes, whatever the incident.
fn evidence(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "before-heap.pb.gz" => heap_profile(0),
        "after-heap.pb.gz" => heap_profile(1),
        "before-goroutine.pb.gz" => goroutine_profile(0),
        "after-goroutine.pb.gz" => goroutine_profile(1),
        "metrics.txt" => b"# TYPE go_goroutines gauge\ngo_goroutines 184\n".to_vec(),
        "verdict.json" => b"{}\n".to_vec(),
        "holders-1.json" => made_up_holders::look(false, START.0 - 5 * 60_000),
        "holders-2.json" => made_up_holders::look(true, START.0 - 4 * 60_000),
        _ => return None,
    })
}

fn incident_id(service: &Service) -> IncidentId {
    let print = model::target::fingerprint(&["incident", service.name]);
    IncidentId(format!("2026-11-22-{}-{}", service.name, &print[..8]))
}

fn incident(service: &Service, of: &TargetView) -> Option<Incident> {
    let verdict = of.verdict.clone()?;
    let at = |minutes: i64| UnixMs(START.0 - minutes * 60_000);
    let names: &[(&str, EvidenceKind, i64)] = match service.kind {
        Some(Kind::GoHeap) => &[
            ("before-heap.pb.gz", EvidenceKind::HeapProfile, 24),
            ("after-heap.pb.gz", EvidenceKind::HeapProfile, 4),
            ("metrics.txt", EvidenceKind::Metrics, 4),
            ("holders-1.json", EvidenceKind::Holders, 5),
            ("holders-2.json", EvidenceKind::Holders, 4),
            ("verdict.json", EvidenceKind::Verdict, 4),
        ],
        Some(Kind::Goroutine) => &[
            ("before-goroutine.pb.gz", EvidenceKind::GoroutineProfile, 24),
            ("after-goroutine.pb.gz", EvidenceKind::GoroutineProfile, 4),
            ("holders-1.json", EvidenceKind::Holders, 5),
            ("verdict.json", EvidenceKind::Verdict, 4),
        ],
        _ => &[("verdict.json", EvidenceKind::Verdict, 4)],
    };
    let evidence = names.iter().map(|(name, kind, minutes)| {
        let bytes = evidence(name).map_or(0, |bytes| bytes.len() as u64);
        EvidenceRef {
            kind: *kind,
            target: of.target.id.clone(),
            at: at(*minutes),
            name: (*name).into(),
            bytes,
            crc32: bytes as u32,
        }
    });
    let event = |minutes, code: &str, text: &str| Event {
        at: at(minutes),
        code: code.into(),
        text: text.into(),
        refused: None,
    };
    Some(Incident {
        schema: INCIDENT_SCHEMA.into(),
        id: incident_id(service),
        state: IncidentState::Open,
        workload: of.target.workload.clone(),
        namespace: String::new(),
        container: String::new(),
        revision: of.target.revision.clone(),
        kind: verdict.kind?,
        culprit: verdict
            .suspects
            .first()
            .map_or_else(String::new, |suspect| suspect.function.clone()),
        opened: at(26),
        onset: Some(at(32)),
        last_seen: verdict.at,
        resolved: None,
        age_s: 2640.0,
        targets: vec![of.target.id.clone()],
        captured: [(of.target.id.clone(), String::new())].into(),
        moved: Vec::new(),
        siblings: Some(model::Siblings {
            of_revision: 6,
            leaking: 2,
            of_workload: 8,
        }),
        answers: Vec::new(),
        silence: None,
        evidence: evidence.collect(),
        timeline: vec![
            event(26, "opened", "The verdict said leak three times in a row."),
            event(
                24,
                "evidence",
                "Heap profile taken from pid 41207, 412 KiB.",
            ),
            event(
                14,
                "refused",
                "A second heap profile was put off: one was taken less than 10 minutes ago.",
            ),
            event(4, "evidence", "Heap profile taken again; suspects named."),
            event(
                3,
                "refused",
                "who holds the heap: it needs more memory than the 1024 MiB that it may take; raise inspect.budget.memory",
            ),
        ],
        verdict,
    })
}

/// An incident that is over.
fn resolved(mut incident: Incident) -> Incident {
    incident.id = IncidentId("2026-11-19-billing-api-0badcafe".into());
    incident.state = IncidentState::Resolved;
    incident.opened = UnixMs(START.0 - 250_000_000);
    incident.last_seen = UnixMs(START.0 - 240_000_000);
    incident.resolved = Some(UnixMs(START.0 - 200_000_000));
    incident.evidence.clear();
    incident
}

/// The view at a time.
pub(crate) fn view(minutes: u64) -> FleetView {
    let at = UnixMs(START.0 + minutes as i64 * 60_000);
    let services = services();
    let targets: Vec<_> = services.iter().map(|service| target(service, at)).collect();
    let leaking = services
        .iter()
        .zip(&targets)
        .filter(|(service, _)| service.verdict == Judgement::Leak);
    let mut incidents: Vec<_> = leaking
        .filter_map(|(service, of)| incident(service, of))
        .collect();
    incidents.extend(incidents.first().cloned().map(resolved));
    FleetView {
        at,
        version: minutes,
        targets,
        incidents: incidents.into_iter().map(Arc::new).collect(),
        health: Health {
            started: UnixMs(START.0 - 9_000_000),
            version: "0.1.0".into(),
            troubles: vec![],
            undelivered: vec![],
            notes: vec!["1 process may not be looked into: it runs as another user.".into()],
            samples_stored: 1_284_410 + minutes * 2_000,
            series: 1_204,
            interval_s: 15.0,
            data_dir: "/var/lib/unswept".into(),
            notifiers: vec![],
            own: own_cost(minutes),
        },
    }
}

fn own_cost(minutes: u64) -> OwnCost {
    let one = |role: &str, cpu_seconds, memory_mib| OwnProcess {
        role: role.into(),
        cpu_seconds,
        memory_bytes: mib(memory_mib) as u64,
    };
    let shed = |for_memory, what: &str, text: &str, now, times| Shed {
        for_memory,
        what: what.into(),
        text: text.into(),
        now,
        times,
    };
    let seconds = 9_000.0 + 60.0 * minutes as f64;
    OwnCost {
        window_s: 300.0,
        cpu_cores: Some(0.0112),
        cpu_budget_cores: 0.01,
        memory_bytes: mib(38.4) as u64,
        memory_budget_bytes: mib(64.0) as u64,
        processes: vec![
            one("main", 0.008 * seconds, 31.2),
            one("reader", 0.003 * seconds, 6.4),
            one("children", 4.1, 0.0),
            one("keeper", 0.1, 0.8),
        ],
        shed: vec![
            shed(
                false,
                "mappings",
                "mappings (smaps) are read ten times more seldom",
                true,
                1,
            ),
            shed(
                true,
                "caches",
                "caches are emptied, and nothing new is kept in them",
                false,
                2,
            ),
        ],
    }
}

impl FleetRead for MadeUp {
    fn view(&self) -> Arc<FleetView> {
        Arc::new(view(self.minutes.load(Ordering::Relaxed)))
    }

    fn evidence(&self, _: &IncidentId, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(evidence(name))
    }
}

impl Commands for MadeUp {
    fn hand(&self, command: Command) -> BoxFuture<'_, CommandOutcome> {
        Box::pin(async move {
            match command {
                Command::Reload => CommandOutcome::Accepted {
                    text: "nothing changed".into(),
                },
                Command::Answer { .. } | Command::TakeBack { .. } => CommandOutcome::Accepted {
                    text: "taken".into(),
                },
                _ => CommandOutcome::Refused {
                    reason: "there is no such target".into(),
                },
            }
        })
    }
}

impl Query for MadeUp {
    fn instant(&self, query: &str, at: UnixMs) -> BoxFuture<'_, Result<QueryResult, ReadError>> {
        let marks = query.starts_with(model::mark::MARK_SERIES);
        Box::pin(async move {
            Ok(match marks {
                true => QueryResult::Matrix(made_up_marks()),
                false => QueryResult::Scalar(Sample { t: at, v: 1.0 }),
            })
        })
    }

    fn range(
        &self,
        query: &str,
        from: UnixMs,
        to: UnixMs,
        step_ms: u64,
    ) -> BoxFuture<'_, Result<QueryResult, ReadError>> {
        let query = query.to_owned();
        Box::pin(async move { Ok(QueryResult::Matrix(rows(&query, from, to, step_ms))) })
    }
}

/// A deploy, and a restart before it.
fn made_up_marks() -> Vec<Series> {
    [
        (MarkKind::Deploy, 20, "9f3c2a71e0b4"),
        (MarkKind::Restart, 32, ""),
    ]
    .map(|(kind, minutes_ago, revision)| {
        let (labels, sample) = Mark {
            at: UnixMs(START.0 - minutes_ago * 60_000),
            kind,
            workload: Workload("billing".into()),
            revision: Revision(revision.into()),
        }
        .sample();
        let samples = vec![sample];
        Series { labels, samples }
    })
    .into()
}

fn rows(query: &str, from: UnixMs, to: UnixMs, step_ms: u64) -> Vec<Series> {
    let services = services();
    let born = START.0 - 4_200_000;
    let times = move || {
        (from.0.max(born)..=to.0)
            .step_by(step_ms.max(1) as usize)
            .map(UnixMs)
    };
    // On the grid of the caller, from the process' start.
    let times = move || {
        times().map(move |at| UnixMs(at.0 - (at.0 - from.0).rem_euclid(step_ms.max(1) as i64)))
    };
    let wanted = services
        .iter()
        .filter(|service| !query.contains("target_id=") || query.contains(&id(service).0));
    let course = |labels: Labels, value: &dyn Fn(UnixMs) -> f64| Series {
        labels,
        samples: times().map(|t| Sample { t, v: value(t) }).collect(),
    };
    let minute = |at: UnixMs| (at.0 - START.0) as f64 / 60_000.0;
    wanted
        .flat_map(|service| {
            let id = id(service).0;
            let of = |more: &[(&str, &str)]| {
                Labels::new([("target_id", id.as_str())].iter().chain(more).copied())
            };
            if query.starts_with("unswept_component_bytes") {
                let line = |line: &(&'static str, f64, f64)| {
                    course(of(&[("component", line.0)]), &|at| {
                        size(service, line, at) * MIB
                    })
                };
                let inside = service.lines.iter().filter(|line| line.0 != "unexplained");
                inside.map(line).collect()
            } else if query.starts_with("unswept_unexplained_bytes") {
                let mut rest = service.lines.iter().filter(|line| line.0 == "unexplained");
                let course = |line| course(of(&[]), &|at| size(service, line, at) * MIB);
                rest.next().map(course).into_iter().collect()
            } else if query.contains("unswept_go_goroutines") {
                let (base, rate) = service.goroutines;
                vec![course(of(&[]), &|at| {
                    base + rate * minute(at).max(-40.0) + (minute(at) * 3.0).sin() * 4.0
                })]
            } else if query.contains("unswept_go_gc_cycles") {
                vec![course(of(&[]), &|at| 1.9 + (minute(at) * 0.9).sin() * 0.2)]
            } else {
                let total = |at| {
                    service
                        .lines
                        .iter()
                        .map(|line| size(service, line, at) * MIB)
                        .sum()
                };
                vec![course(of(&[]), &total)]
            }
        })
        .collect()
}

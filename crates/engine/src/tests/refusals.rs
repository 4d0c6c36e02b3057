//! What the guard rails refuse stands in the incident that it was wanted for, in words and as data, and what they only
//! put off is taken later. Services, readings, captures and the store are real; that something leaks says the test,
//! since a judge wants minutes of it.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locate::Interpretation;
use model::{
    BootId, CommandOutcome, EvidenceKind, Incident, Judgement, Kind, Pid, ProcessKey, Refusal,
    RefusedCapture, SimClock, StartTicks, TargetId, UnixMs,
};
use profile::ProfileBuilder;
use serde_json::Value;

use super::config;
use super::held::Held;
use crate::book::tests::verdict;
use crate::budget::{Allowed, Measure};
use crate::leaks::Captured;
use crate::main_loop::MainLoop;

const NOON: UnixMs = UnixMs(1_796_126_400_000);
const DUMP: &str = "/debug/pprof/goroutine?debug=2";
const MIB: usize = 1 << 20;

/// A service with metrics and net/http/pprof, which remembers what it was asked for.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// One that answers a GET of a path by `answer`; `None` is a 404.
    fn start(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, paths) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, paths) = (Arc::clone(&answer), Arc::clone(&paths));
                // One that takes its time is in nobody's way.
                std::thread::spawn(move || serve(stream, &*answer, &paths));
            }
        });
        Self { address, asked }
    }

    fn was_asked_for(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }

    /// As `scrape_configs` has it: of the workload `job`.
    fn job(&self, job: &str) -> String {
        format!(
            "  - {{job_name: {job}, static_configs: [{{targets: ['{}']}}]}}\n",
            self.address
        )
    }

    fn target(&self, job: &str) -> TargetId {
        TargetId::of_instance(job, &self.address.to_string())
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&str) -> Option<Vec<u8>>,
    asked: &Mutex<Vec<String>>,
) {
    let mut head = [0; 4096];
    let count = stream.read(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    asked.lock().unwrap().push(path.to_owned());
    let (status, body) = match answer(path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    // Whoever asked may be gone, or want no more of it.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

/// What a small Go service answers.
fn ordinary(path: &str) -> Option<Vec<u8>> {
    let body = match path {
        "/metrics" => b"go_goroutines 100\ngo_memstats_heap_alloc_bytes 1e6\n".to_vec(),
        "/debug/pprof/heap" | "/debug/pprof/heap?gc=1" => heap(0),
        "/debug/pprof/goroutine" | "/debug/pprof/goroutineleak" => goroutines(),
        DUMP => b"goroutine 1 [running]:\nmain.main()\n".to_vec(),
        _ => return None,
    };
    Some(body)
}

/// A heap profile of at least so many bytes.
fn heap(bytes: usize) -> Vec<u8> {
    let mut made = ProfileBuilder::new(&[("inuse_space", "bytes")]);
    let keep = made.function("main.keep", "main.go", 1);
    let keep = made.location(1, &[(keep, 7)]);
    made.sample(&[keep], &[1 << 20]);
    made.comment(&"x".repeat(bytes));
    made.build().unwrap().to_proto()
}

fn goroutines() -> Vec<u8> {
    let mut made = ProfileBuilder::new(&[("goroutine", "count")]);
    let park = made.function("main.park", "main.go", 1);
    let park = made.location(1, &[(park, 9)]);
    made.sample(&[park], &[100]);
    made.build().unwrap().to_gzip()
}

/// A watcher of these jobs with this part of the configuration, on a clock that only the test moves.
async fn watching(jobs: &[(&str, &Service)], evidence: &str) -> (Held, Arc<SimClock>) {
    let clock = Arc::new(SimClock::new(NOON));
    let mut held = held_of(jobs, evidence, &clock);
    let targets: Vec<_> = jobs.iter().map(|(job, s)| s.target(job)).collect();
    let have_rings = |main: &MainLoop| {
        let mut targets = targets.iter().filter_map(|id| main.targets.get(id));
        targets.all(|t| t.captured_round.is_some() && t.may_be_captured())
    };
    held.until(
        "readings and the ring's first snapshots",
        |_| (),
        have_rings,
    )
    .await;
    (held, clock)
}

/// The same, which has read nothing yet.
fn held_of(jobs: &[(&str, &Service)], evidence: &str, clock: &Arc<SimClock>) -> Held {
    let listed: String = jobs.iter().map(|(job, service)| service.job(job)).collect();
    let text = format!(
        "discovery: {{local_processes: false}}\nevidence: {{{evidence}}}\nscrape_configs:\n{listed}"
    );
    let mut held = Held::new(config(&text), Arc::clone(clock) as _);
    held.main.discover();
    held
}

/// The judge finds a leak of `kind` in `target`.
fn found(main: &mut MainLoop, target: &TargetId, kind: Kind) {
    let mut found = verdict(&target.0, 0, 0, Judgement::Leak);
    found.at = main.clock().now();
    found.target = main.targets[target].view.target.clone();
    found.kind = Some(kind);
    found.findings[0].kind = Some(kind);
    found.findings[0].suspects.clear();
    main.weigh(target, found);
}

/// Whether the target's incident has evidence of that name.
fn has(main: &MainLoop, target: &TargetId, name: &str) -> bool {
    let mut incidents = main.book.latest().filter(|i| i.has_target(target));
    incidents.any(|incident| incident.evidence.iter().any(|file| file.name == name))
}

/// Whether the target's incident says that something was refused for that reason.
fn says(main: &MainLoop, target: &TargetId, reason: &str) -> bool {
    let mut incidents = main.book.latest().filter(|i| i.has_target(target));
    incidents.any(|incident| {
        let refused = refused(incident, target);
        refused.iter().any(|(what, _)| what.ends_with(reason))
    })
}

/// What an incident's manifest says was refused of `target`: `CAPTURE REASON`, and the words.
fn refused(incident: &Incident, target: &TargetId) -> Vec<(String, String)> {
    let manifest = serde_json::to_value(incident).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = manifest["timeline"].as_array().unwrap().iter();
    let of_target = events.filter(|event| event["refused"]["target"] == target.0.as_str());
    of_target
        .map(|event| {
            assert_eq!(event["code"], "refused", "{event}");
            let refused = &event["refused"];
            let what = format!("{} {}", text(&refused["capture"]), text(&refused["reason"]));
            (what, text(&event["text"]))
        })
        .collect()
}

/// That the incident says of `target` exactly this, in this order.
fn assert_refused(incident: &Incident, target: &TargetId, want: &[(&str, &str)]) {
    let told = refused(incident, target);
    let told: Vec<(&str, &str)> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(told, want);
}

#[tokio::test]
async fn nothing_is_taken_of_a_service_before_it_was_read() {
    let shop = Service::start(ordinary);
    let id = shop.target("shop");
    let mut held = held_of(&[("shop", &shop)], "", &Arc::new(SimClock::new(NOON)));
    let asked = held.main.snapshot(&id);
    assert_eq!(asked, CommandOutcome::Busy, "nobody knows how it stands");
    let is_taken = Cell::new(false);
    let ask = |main: &mut MainLoop| {
        let accepted = matches!(main.snapshot(&id), CommandOutcome::Accepted { .. });
        is_taken.set(is_taken.get() || accepted);
    };
    held.until("it to be read", ask, |_| is_taken.get()).await;
}

#[tokio::test]
async fn goroutines_of_an_unknown_number_are_not_listed_and_the_incident_says_so() {
    let shop = Service::start(|path| match path {
        "/metrics" => Some(b"go_memstats_heap_alloc_bytes 1e6\n".to_vec()),
        other => ordinary(other),
    });
    let id = shop.target("shop");
    let (mut held, _) = watching(&[("shop", &shop)], "").await;
    held.until(
        "the refusal",
        |main| found(main, &id, Kind::Goroutine),
        |main| says(main, &id, "goroutines-unknown") && has(main, &id, "after-goroutine.pb.gz"),
    )
    .await;
    assert!(!shop.was_asked_for(DUMP), "it is not even asked");
    let want = (
        "goroutine-stacks goroutines-unknown",
        "goroutines one by one (debug=2) not taken: it is not known how many goroutines the service has, so neither \
         how long it would stand still; export its metrics, or let unswept read the process",
    );
    assert_refused(&held.the_incident(), &id, &[want]);
}

#[tokio::test]
async fn what_comes_too_soon_is_put_off_in_the_incident_and_taken_in_time() {
    let shop = Service::start(ordinary);
    let id = shop.target("shop");
    let settings = "force_gc: true, capture_interval: 10m";
    let (mut held, clock) = watching(&[("shop", &shop)], settings).await;
    let leaks = |main: &mut MainLoop| found(main, &id, Kind::Goroutine);
    // The runtime's own list of leaked goroutines is the second that costs the service something.
    let is_put_off =
        |main: &MainLoop| says(main, &id, "too-soon") && has(main, &id, "after-goroutines.txt");
    held.until("the first, and the second to be put off", leaks, is_put_off)
        .await;
    let list = "/debug/pprof/goroutineleak";
    clock.advance(Duration::from_secs(599));
    let rounds = held.main.targets[&id].rounds + 5;
    let is_later = |main: &MainLoop| main.targets[&id].rounds >= rounds;
    held.until("some more readings", leaks, is_later).await;
    assert!(!shop.was_asked_for(list), "a second too early");
    clock.advance(Duration::from_secs(61));
    let is_taken = |main: &MainLoop| has(main, &id, "after-goroutineleak.pb.gz");
    held.until("what was put off", leaks, is_taken).await;

    let incident = held.the_incident();
    let told = refused(&incident, &id);
    let [(what, words)] = &told[..] else {
        panic!("once, however often it was tried: {told:#?}");
    };
    assert_eq!(what, "goroutine-leak-profile too-soon");
    // Ten minutes and the target's own part of the jitter.
    let begin = "the runtime's own list of leaked goroutines put off for 6";
    let end = " s: something that costs the service more was taken of it a short while ago \
               (evidence.capture_interval)";
    assert!(words.starts_with(begin) && words.ends_with(end), "{words}");
}

#[tokio::test]
async fn two_at_a_time_are_refused_in_the_incident_of_the_second_which_comes_after_the_first() {
    let (go_on, holds) = held_up();
    let depot = Service::start(move |path| {
        if path == DUMP {
            let _ = holds.lock().unwrap().recv();
        }
        ordinary(path)
    });
    let shop = Service::start(ordinary);
    let (first, second) = (depot.target("depot"), shop.target("shop"));
    let (mut held, _) = watching(&[("depot", &depot), ("shop", &shop)], "").await;
    let leaks = |main: &mut MainLoop| found(main, &first, Kind::Goroutine);
    let is_under_way = |_: &MainLoop| depot.was_asked_for(DUMP);
    held.until("the first capture", leaks, is_under_way).await;
    // Who holds its goroutines would be looked at too; of a process that is none, but nobody gets so far.
    let nobody = ProcessKey {
        boot_id: BootId::default(),
        pid: Pid(u32::MAX),
        start_ticks: StartTicks(1),
    };
    let shown = &mut held.main.targets.get_mut(&second).unwrap().view;
    shown.target.process = Some(nobody);
    let leaks = |main: &mut MainLoop| found(main, &second, Kind::Goroutine);
    let are_put_off = |main: &MainLoop| {
        let incident = main.book.latest().find(|i| i.has_target(&second));
        let told = incident.map_or_else(Vec::new, |incident| refused(incident, &second));
        told.iter()
            .filter(|(what, _)| what.ends_with("busy"))
            .count()
            == 2
    };
    held.until("the second to be put off", leaks, are_put_off)
        .await;
    assert!(!shop.was_asked_for(DUMP));
    go_on.send(()).unwrap();
    let is_taken = |main: &MainLoop| has(main, &second, "after-goroutines.txt");
    held.until("the second capture", leaks, is_taken).await;

    let incidents = held.incidents();
    let of_second = incidents.iter().find(|i| i.has_target(&second)).unwrap();
    let mut told = refused(of_second, &second);
    told.retain(|(what, _)| what.ends_with("busy"));
    told.sort();
    let words = "put off: such a capture of depot is under way, and there is one at a time on a host and of a workload";
    let want = [
        ("goroutine-stacks busy", "goroutines one by one (debug=2)"),
        ("holders busy", "who holds the heap:"),
    ];
    let want = want.map(|(what, of)| (what.to_owned(), format!("{of} {words}")));
    assert_eq!(told, want);
    let of_first = incidents.iter().find(|i| i.has_target(&first)).unwrap();
    assert_refused(of_first, &first, &[]);
}

/// Something that waits until it is told to go on.
fn held_up() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (go_on, holds) = mpsc::channel();
    (go_on, Mutex::new(holds))
}

#[tokio::test]
async fn what_is_too_large_for_the_ring_or_the_incident_is_not_kept_and_the_incident_says_so() {
    let shop = Service::start(|path| match path {
        "/debug/pprof/heap" => Some(heap(3 * MIB)),
        DUMP => {
            let mut dump = b"goroutine 1 [running]:\n".to_vec();
            dump.resize(17 * MIB, b'x');
            Some(dump)
        }
        other => ordinary(other),
    });
    let id = shop.target("shop");
    let (mut held, _) = watching(&[("shop", &shop)], "").await;
    held.until(
        "the refusal",
        |main| found(main, &id, Kind::Goroutine),
        |main| says(main, &id, "goroutine-stacks too-large") && has(main, &id, "after-heap.pb.gz"),
    )
    .await;
    assert!(
        has(&held.main, &id, "before-goroutine.pb.gz"),
        "it is small"
    );
    assert!(!has(&held.main, &id, "before-heap.pb.gz"));
    let want = [
        (
            "heap-profile too-large",
            "from before: heap profile not kept: it is larger than 2 MiB, the most that is kept of one",
        ),
        (
            "goroutine-stacks too-large",
            "goroutines one by one (debug=2) not kept: it is larger than 16 MiB, the most that is kept of one",
        ),
    ];
    assert_refused(&held.the_incident(), &id, &want);
}

#[tokio::test]
async fn what_our_own_memory_puts_off_is_in_the_incident_and_taken_when_there_is_room() {
    let shop = Service::start(ordinary);
    let id = shop.target("shop");
    let (mut held, clock) = watching(&[("shop", &shop)], "capture_interval: 10m").await;
    use_memory(&mut held.main, 300);
    let leaks = |main: &mut MainLoop| found(main, &id, Kind::Goroutine);
    let are_put_off = |main: &MainLoop| says(main, &id, "goroutine-stacks over-budget");
    held.until("all to be put off", leaks, are_put_off).await;
    assert!(!has(&held.main, &id, "after-heap.pb.gz"));
    use_memory(&mut held.main, 20);
    clock.advance(Duration::from_secs(600));
    let are_taken = |main: &MainLoop| {
        let names = [
            "after-heap.pb.gz",
            "after-goroutine.pb.gz",
            "after-goroutines.txt",
        ];
        names.iter().all(|name| has(main, &id, name))
    };
    held.until("all that was put off", leaks, are_taken).await;
    let words = "put off: unswept itself uses 300 MiB, and its budget (budget.memory) is 100 MiB";
    let of = |what: &str| format!("{what} {words}");
    let want = [
        ("goroutine-profile over-budget", &*of("goroutine profile")),
        ("heap-profile over-budget", &of("heap profile")),
        (
            "goroutine-stacks over-budget",
            &of("goroutines one by one (debug=2)"),
        ),
    ];
    assert_refused(&held.the_incident(), &id, &want);
}

/// We use so many MiB of the 100 that we may have, for long enough to do something about it.
fn use_memory(main: &mut MainLoop, mib: u64) {
    let at = main.clock().monotonic();
    let measure = Measure {
        at,
        cpu: Duration::ZERO,
        memory_bytes: mib << 20,
    };
    let allowed = Allowed {
        cpu_cores: 1.0,
        memory_bytes: 100 << 20,
        window: Duration::ZERO,
    };
    while main.own.keeper.take(measure, allowed) {}
}

#[tokio::test]
async fn what_was_refused_of_a_target_goes_where_its_leak_turns_out_to_belong() {
    let mut held = Held::idle();
    let headroom = RefusedCapture {
        capture: EvidenceKind::HeapProfile,
        target: TargetId("b".into()),
        refusal: Refusal::LittleHeadroom {
            headroom_bytes: 9 << 20,
            needed_bytes: 16 << 20,
            limit_source: "memory.max".into(),
        },
    };
    // Without a profile the second joins the first for the time being; then a look from outside names somebody else.
    let rows = [
        ("a", Some("main.f"), None),
        ("b", None, Some(headroom)),
        ("b", Some("main.g"), None),
    ];
    for (target, culprit, refused) in rows {
        let verdict = verdict(target, 10, 0, Judgement::Leak);
        let mut suspects = verdict.findings[0].suspects.clone();
        suspects.retain_mut(|suspect| {
            suspect.function = culprit.unwrap_or_default().into();
            culprit.is_some()
        });
        held.main.captured(Captured {
            target: TargetId(target.into()),
            kind: Kind::GoHeap,
            verdict,
            files: Vec::new(),
            refusals: refused.into_iter().collect(),
            notes: Vec::new(),
            was_outside: false,
            found: Interpretation {
                suspects,
                ..Interpretation::default()
            },
        });
    }
    held.settle().await;
    let id = TargetId("b".into());
    let incidents = held.incidents();
    let [left, own] = ["a", "b"].map(|target| {
        let target = TargetId(target.into());
        incidents.iter().find(|i| i.has_target(&target)).unwrap()
    });
    let words = "heap profile not taken: 9 MiB are left to its limit (memory.max), 16 MiB must be, so that taking it \
                 does not bring the service to its end; raise the limit to have it next time";
    let of = "heap-profile little-headroom";
    assert_refused(left, &id, &[(of, words)]);
    assert_refused(own, &id, &[(of, &format!("while in {}: {words}", left.id))]);
}

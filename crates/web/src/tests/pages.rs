//! What people read on the pages.

use super::{first, get, made_up};

#[tokio::test]
async fn the_fleet_says_who_leaks() {
    let (status, _, page) = get("/").await;
    assert_eq!(status, 200);
    for text in [
        "<h1>12 targets: 3 leak, 7 do not, 2 are undecided</h1>",
        "billing-api leaks: Go heap, +5.6 MiB/min, allocated in main.(*invoiceIndex).Remember, invoice_index.go:88",
        "endpoint fails",
        "sent nothing for 10 s",
        "no permission",
        "CAP_SYS_PTRACE",
        "Watching takes 1.12 % of a core (budget 1.00 %) and 38.4 MiB (budget 64.0 MiB)",
        "data in <code>/var/lib/unswept</code>",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
}

#[tokio::test]
async fn hostile_names_stay_text() {
    let view = made_up::view(0);
    let hostile = view
        .targets
        .iter()
        .find(|target| target.target.name.contains("<script>"));
    let id = &hostile.expect("the preview has one").target.id;
    for path in ["/", &format!("/targets/{id}")] {
        let (_, _, page) = get(path).await;
        assert!(page.contains("&lt;script&gt;alert('legacy')"), "{path}");
        assert!(!page.contains("<script>alert"), "{path}");
    }
}

#[tokio::test]
async fn a_target_has_its_verdict_and_its_ledger() {
    let (target, incident) = first();
    let (status, _, page) = get(&format!("/targets/{target}")).await;
    assert_eq!(status, 200);
    for text in [
        "billing-api leaks: the live Go heap grows.",
        "between +5.4 MiB/min and +5.9 MiB/min (95 % interval)",
        "37 % of 1.0 GiB (memory.max)",
        "What speaks against it",
        "<code>go.live</code>",
        "<code>unexplained</code>",
        "GET /debug/pprof/ answered 200",
        &format!("/incidents/{incident}"),
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
}

#[tokio::test]
async fn an_incident_tells_by_its_kind_what_to_look_at() {
    let view = made_up::view(0);
    let wanted: [&[&str]; 3] = [
        &[
            "149 MiB",
            "302 MiB",
            "+163 MiB",
            "main.invoices.byCustomer[...]",
            "35\u{202f}900 → 91\u{202f}400 objects",
            "go tool pprof -diff_base before-heap.pb.gz after-heap.pb.gz",
            "unswept profile diff before-heap.pb.gz",
        ],
        &[
            "chan send",
            "+3\u{202f}742",
            "sender.go:117",
            "There are no two profiles to compare yet.",
        ],
        &["needs tracing", "C allocators", "native.heap"],
    ];
    for (incident, wanted) in view.incidents.iter().zip(wanted) {
        let (status, _, page) = get(&format!("/incidents/{}", incident.id)).await;
        assert_eq!(status, 200, "{}", incident.id);
        for text in wanted {
            assert!(page.contains(text), "{}: {text} is missing", incident.id);
        }
    }
}

#[tokio::test]
async fn an_incident_tells_what_holds_the_memory() {
    let view = made_up::view(0);
    let wanted: [&[&str]; 2] = [
        &[
            "360 MiB",
            "+160 MiB",
            "<strong class=\"function\">main.invoices</strong>",
            "+160 MiB/min",
            "main.(*invoiceIndex).Remember",
            "invoice_index.go:88",
            "map[string][]*main.Invoice",
            " one after another by <code>.next</code>",
            "used by <span class=\"function\">main.init.0, main.(*rates).Get</span>",
            "goroutines of </span><strong class=\"function\">main.(*worker).run",
            "shared by </span>",
            "ran on: sizes are of no one moment",
            "0.88 s, 0.64 s of CPU, 98.0 MiB copied, 210 MiB of memory",
            "214 smaller holders with 3.0 MiB are left out",
            "Names or ways too long or too many for a page are cut.",
            "A look was refused. </strong>it needs more memory",
            "type=holders&amp;target=",
            "1\u{202f}900 likely never again",
            "Still reached by <code>main.pool.jobs</code>",
            "chan send",
            "for 12 min or more",
        ],
        &[
            "There is only one look: it tells who is big, not who grows.",
            "so this is no proof",
        ],
    ];
    for (incident, wanted) in view.incidents.iter().zip(wanted) {
        let (status, _, page) = get(&format!("/incidents/{}", incident.id)).await;
        assert_eq!(status, 200, "{}", incident.id);
        for text in wanted {
            assert!(page.contains(text), "{}: {text} is missing", incident.id);
        }
        assert!(!page.contains("<img src=x"), "a holder's name stays text");
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
        let target = &incident.verdict.target.id;
        let (_, _, page) = get(&format!("/targets/{target}")).await;
        assert!(page.contains("<strong class=\"function\">main.invoices"));
    }
    let native = &view.incidents[2];
    let (_, _, page) = get(&format!("/incidents/{}", native.id)).await;
    assert!(!page.contains("What holds the memory"), "none of Go's");
}

#[tokio::test]
async fn the_graph_of_holders_has_both_looks() {
    let (_, incident) = first();
    let path = format!("/api/v1/unswept/incidents/{incident}/flame?type=holders");
    let (status, _, body) = get(&path).await;
    assert_eq!(status, 200);
    let flame: serde_json::Value = serde_json::from_str(&body).unwrap();
    let top = &flame["root"]["children"][0];
    assert_eq!(top["name"], "main.invoices main.invoiceIndex");
    assert_eq!(top["before"].as_u64(), Some(160 << 20));
    assert_eq!(top["after"].as_u64(), Some(320 << 20));
    assert_eq!(
        top["children"][0]["children"][0]["name"],
        "[*] main.Invoice"
    );
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    for path in ["/targets/x", "/incidents/x", "/nothing", "/assets/x.js"] {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    let (_, _, page) = get("/targets/%3Cb%3E").await;
    assert!(page.contains("There is no such target"));
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_have_no_inline_code() {
    let (target, incident) = first();
    for path in [
        "/",
        "/incidents",
        &format!("/targets/{target}"),
        &format!("/incidents/{incident}"),
    ] {
        let (_, _, page) = get(path).await;
        for attribute in ["src=\"", "href=\""] {
            for link in page.split(attribute).skip(1) {
                assert!(link.starts_with(['/', '#']), "{path}: {}", &link[..20]);
            }
        }
        for inline in [" style=", " onclick=", "<style", "<script>"] {
            assert!(!page.contains(inline), "{path}: {inline}");
        }
        let scripts = page
            .split("src=\"/assets/")
            .skip(1)
            .chain(page.split("href=\"/assets/").skip(1));
        for asset in scripts {
            let name = asset.split('"').next().unwrap();
            assert_eq!(get(&format!("/assets/{name}")).await.0, 200, "{name}");
        }
    }
}

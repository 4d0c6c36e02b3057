//! Two made-up looks at who holds a heap: one that grows, some that do not, names from a stranger.

use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// What no page may take for markup.
const HOSTILE: &str = "main.<img src=x onerror=alert(1)>";

/// The file `holders-1.json` or `holders-2.json`, as the engine writes it; `at_ms` since 1970.
pub(crate) fn look(second: bool, at_ms: i64) -> Vec<u8> {
    let by = if second { 2 } else { 1 };
    let report = json!({
        "go_version": "go1.27.3",
        "layout": "table",
        "heap": {
            "spans": 9000, "span_bytes": 420 * MIB, "scannable_bytes": 96 * MIB,
            "objects": 1_400_000, "object_bytes": 400 * MIB,
        },
        "reached_bytes": 160 * MIB * by + 40 * MIB,
        "reached_objects": 1_204_000,
        "approximate": true,
        "blurred": 3,
        "holders": holders(by),
        "left_out": {"holders": 214, "bytes": 3 * MIB},
        "goroutines": goroutines(by),
        "cost": {"calls": 1204, "bytes": 98 * MIB},
    });
    let look = json!({
        "at": at_ms,
        "cost": {"time_ms": 880, "cpu_ms": 640, "copied_bytes": 98 * MIB, "memory_bytes": 210 * MIB},
        "report": report,
    });
    serde_json::to_vec_pretty(&look).unwrap_or_default()
}

fn step(path: &str, ty: &str, bytes: u64, count: u64, children: Value) -> Value {
    json!({"path": path, "type": ty, "bytes": bytes, "count": count, "children": children})
}

fn holder(name: &str, kind: &str, ty: &str, bytes: u64, paths: Value, site: Value) -> Value {
    json!({
        "name": name, "kind": kind, "type": ty, "count": 1, "retained_bytes": bytes,
        "retained_objects": bytes / 340, "paths": paths, "allocated_at": site,
    })
}

fn holders(by: u64) -> Value {
    let generic = format!("main.Cache[{}]", "string,".repeat(140));
    let invoices = 160 * MIB * by;
    let lines = step(
        ".Lines",
        "[]main.Line",
        invoices / 8 * 5,
        45_000 * by,
        json!([]),
    );
    let mut chain = step(
        ".audit",
        "main.auditEntry",
        invoices / 8,
        12_000 * by,
        json!([]),
    );
    chain["again"] = ".next".into();
    let values = step(
        "[*]",
        "main.Invoice",
        invoices / 8 * 7,
        45_000 * by,
        json!([lines, chain]),
    );
    let map = step(
        ".byCustomer",
        "map[string][]*main.Invoice",
        invoices,
        1,
        json!([values]),
    );
    let site = json!([{
        "function": "main.(*invoiceIndex).Remember", "file": "/src/billing/invoice_index.go", "line": 88,
        "bytes": invoices, "samples": 310,
    }]);
    let mut unnamed = holder("bss+0x490", "global", "", 2 * MIB, json!([]), json!([]));
    unnamed["used_by"] = json!(["main.init.0", "main.(*rates).Get"]);
    let mut workers = holder(
        "main.(*worker).run",
        "goroutine",
        "",
        12 * MIB,
        json!([step(
            " in main.(*worker).run",
            "[]uint8",
            12 * MIB,
            64,
            json!([])
        )]),
        json!([]),
    );
    workers["count"] = 64.into();
    json!([
        holder(
            "main.invoices",
            "global",
            "main.invoiceIndex",
            invoices,
            json!([map]),
            site
        ),
        workers,
        holder(HOSTILE, "global", &generic, 9 * MIB, json!([]), json!([])),
        holder(
            "main.a and main.b",
            "several",
            "",
            4 * MIB,
            json!([]),
            json!([])
        ),
        unnamed,
    ])
}

fn goroutines(by: u64) -> Value {
    let place = |function: &str, file: &str, line: u32| json!({"function": function, "file": file, "line": line});
    let group = |entry: &str,
                 state: &str,
                 at: Value,
                 by: Value,
                 count: u64,
                 held: u64,
                 leaked: u64,
                 ways: Value| {
        json!({
            "entry": entry, "state": state, "at": at, "created_by": by, "count": count,
            "retained_bytes": held, "retained_objects": count, "stack_bytes": count * 8192,
            "average_bytes": held / count + 8192,
            "waited": {"shortest_ns": 1, "median_ns": 720_000_000_000_u64, "longest_ns": 2_000_000_000_000_u64},
            "judged": count, "proven_leaked": 0, "seem_leaked": leaked, "kept_by": ways,
        })
    };
    json!([
        group(
            "main.(*sender).push",
            "chan send",
            place("main.(*sender).push", "/src/mailer/sender.go", 117),
            place("main.(*sender).Send", "/src/mailer/sender.go", 90),
            1900 * by,
            24 * MIB * by,
            1900 * by,
            json!([]),
        ),
        group(
            "main.(*worker).run",
            "chan receive",
            place("main.(*worker).run", "/src/mailer/worker.go", 41),
            place("main.start", "/src/mailer/main.go", 30),
            64,
            12 * MIB,
            0,
            json!([{"kind": "global", "path": "main.pool.jobs", "count": 8}]),
        ),
    ])
}

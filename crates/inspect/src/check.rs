//! Holds a layout and symbols against the running program before anything they say is believed.
//!
//! Each check is something that must be true of any Go program at any moment, stopped or not; together they read
//! some tens of kilobytes. A failure means: layout unknown for this build, never a guess.

use crate::InspectError;
use crate::layout::{Field, Layout};
use crate::memory::{Memory, le64};
use crate::program::Program;

/// Spans and goroutines looked at: enough that a wrong offset shows, few enough to cost nothing.
const SAMPLES: u64 = 256;
const PAGE: u64 = 8192;
/// Addresses of programs are below, on every machine; fields may be added to them without a second thought.
const ADDRESS_MAX: u64 = 1 << 56;

/// Why a program's layout is refused.
pub(crate) struct Refused(pub(crate) String);

impl From<InspectError> for Refused {
    fn from(error: InspectError) -> Self {
        Self(error.to_string())
    }
}

type Checked = Result<(), Refused>;

/// Every check.
pub(crate) fn check(program: &Program) -> Checked {
    let in_memory = program.symbols().all(|(_, addr)| addr < ADDRESS_MAX);
    demand(in_memory, "a variable outside all memory")?;
    version(program)?;
    statistics(program)?;
    spans(program)?;
    goroutines(program)
}

fn demand(holds: bool, what: &str) -> Checked {
    holds.then_some(()).ok_or_else(|| Refused(what.to_owned()))
}

/// The runtime's own version string is the build information's.
fn version(program: &Program) -> Checked {
    let Ok(addr) = program.symbol("runtime.buildVersion") else {
        return Ok(());
    };
    let (text, len) = program.memory().slice_header(addr)?;
    let text = program.memory().bytes("version", text, len, 1 << 10)?;
    let text = String::from_utf8_lossy(&text);
    let same = text.split(' ').next() == program.go_version().split(' ').next();
    demand(
        same,
        &format!("its runtime calls itself `{}`", text.escape_debug()),
    )
}

fn statistics(program: &Program) -> Checked {
    let (memory, layout) = (program.memory(), program.layout());
    let stats = program.symbol("runtime.memstats")?;
    let controller = program.symbol("runtime.gcController")?;
    let read = |base: u64, name: &str| -> Result<u64, Refused> {
        let field = layout.field(name)?;
        let bytes = memory.bytes("a figure", base + field.offset, field.bytes, 8)?;
        Ok(Field { offset: 0, ..field }.get(&bytes))
    };
    demand(
        read(stats, "mstats.numgc")? < 1 << 31,
        "an absurd number of GC cycles",
    )?;
    let last = read(stats, "mstats.last_gc_unix")?;
    // 2009, Go's first year, in nanoseconds; zero before the first cycle.
    demand(
        last == 0 || (1_230_768_000_000_000_000..i64::MAX as u64).contains(&last),
        "an absurd time of the last GC",
    )?;
    let in_use = read(controller, "gcControllerState.heapInUse")?;
    demand(
        in_use % PAGE == 0 && in_use < 1 << 47,
        "a heap in use that is no number of pages",
    )?;
    let percent = read(controller, "gcControllerState.gcPercent.value")? as u32 as i32;
    demand(percent >= -1, "a GOGC below -1")?;
    let limit = read(controller, "gcControllerState.memoryLimit.value")? as i64;
    demand(limit >= 0, "a negative GOMEMLIMIT")?;
    let ready = read(controller, "gcControllerState.mappedReady.value")?;
    demand(
        ready < 1 << 47 && ready >= in_use / 2,
        "mapped memory below the heap in use",
    )
}

/// `samples` of the array of pointers that the slice at `header` describes, spread over it.
fn sample_pointers(
    memory: &dyn Memory,
    header: u64,
    max: u64,
    samples: u64,
) -> Result<Vec<u64>, Refused> {
    let (array, len) = memory.slice_header(header)?;
    demand(len > 0 && len < max, "a list of absurd length")?;
    let step = len.div_ceil(samples);
    let places = (0..len).step_by(step as usize);
    let places = places.map(|at| array.wrapping_add(at * 8));
    let (bytes, missing) = memory.records(places, 8);
    demand(missing == 0, "a list that cannot be read")?;
    Ok(bytes.chunks_exact(8).map(|word| le64(word, 0)).collect())
}

/// The structures at `pointers`, one behind the other.
fn structures(memory: &dyn Memory, pointers: &[u64], bytes: u64) -> Result<Vec<u8>, Refused> {
    let (all, missing) = memory.records(pointers.iter().copied(), bytes as usize);
    demand(missing == 0, "structures that cannot be read")?;
    Ok(all)
}

fn spans(program: &Program) -> Checked {
    // After a spike nearly all spans may be free, and few samples meet none that is in use.
    for samples in [SAMPLES, SAMPLES << 5, SAMPLES << 10] {
        if some_spans(program, samples)? > 0 {
            return Ok(());
        }
    }
    demand(false, "no span in use")
}

/// Checks so many spans, and tells how many of them are in use.
fn some_spans(program: &Program, samples: u64) -> Result<usize, Refused> {
    let (memory, layout) = (program.memory(), program.layout());
    let heap = program.symbol("runtime.mheap_")?;
    let all = heap + layout.field("mheap.allspans")?.offset;
    let pointers = sample_pointers(memory, all, 1 << 28, samples)?;
    let bytes = layout.size("mspan")?;
    let spans = structures(memory, &pointers, bytes)?;
    let field = |name: &str| layout.field(name);
    let (start, pages, state) = (
        field("mspan.startAddr")?,
        field("mspan.npages")?,
        field("mspan.state.s.value")?,
    );
    let (elem, count, class) = (
        field("mspan.elemsize")?,
        field("mspan.nelems")?,
        field("mspan.spanclass")?,
    );
    let limit = field("mspan.limit")?;
    let mut in_use = 0;
    for span in spans.chunks_exact(bytes as usize) {
        demand(state.get(span) <= 3, "a span in no known state")?;
        // Only spans in use keep all their fields in order.
        if state.get(span) != 1 {
            continue;
        }
        in_use += 1;
        let (start, bytes) = (start.get(span), pages.get(span).saturating_mul(PAGE));
        let taken = elem.get(span).saturating_mul(count.get(span));
        demand(
            start % PAGE == 0 && start != 0 && start < 1 << 47,
            "a span that starts on no page",
        )?;
        demand(
            taken > 0 && taken <= bytes && bytes < 1 << 47,
            "a span too small for its objects",
        )?;
        demand(class.get(span) < 136, "a span of no size class")?;
        demand(
            (start..=start + bytes).contains(&limit.get(span)),
            "a span that ends outside itself",
        )?;
        specials(program, layout, span, bytes)?;
    }
    Ok(in_use)
}

/// The first special of a span lies inside it and is of a known kind.
fn specials(program: &Program, layout: &Layout, span: &[u8], span_bytes: u64) -> Checked {
    let first = layout.field("mspan.specials")?.get(span);
    // The list changes while the program runs: what cannot be read is no proof of anything.
    let Ok(special) = program.memory().bytes("special", first, 32, 32) else {
        return Ok(());
    };
    let kind = layout.field("special.kind")?.get(&special);
    let offset = layout.field("special.offset")?.get(&special);
    demand(
        (1..=16).contains(&kind) && offset < span_bytes,
        "a record about an object outside its span",
    )
}

fn goroutines(program: &Program) -> Checked {
    let (memory, layout) = (program.memory(), program.layout());
    let pointers = sample_pointers(memory, program.symbol("runtime.allgs")?, 1 << 28, SAMPLES)?;
    let bytes = layout.size("g")?;
    let all = structures(memory, &pointers, bytes)?;
    let (id, status) = (
        layout.field("g.goid")?,
        layout.field("g.atomicstatus.value")?,
    );
    let (low, high) = (layout.field("g.stack.lo")?, layout.field("g.stack.hi")?);
    let (start, reason) = (layout.field("g.startpc")?, layout.field("g.waitreason")?);
    let (mut ids, mut alive) = (Vec::new(), 0);
    for g in all.chunks_exact(bytes as usize) {
        let status = status.get(g) & !0x1000;
        demand(status <= 16, "a goroutine in no known state")?;
        // Dead ones and those just being made may have no stack and no id.
        if status == 0 || status == 6 {
            continue;
        }
        alive += 1;
        let (low, high) = (low.get(g), high.get(g));
        demand(
            low < high && low % 1024 == 0 && high - low <= 1 << 32,
            "a goroutine without a stack",
        )?;
        demand(
            id.get(g) > 0 && id.get(g) < 1 << 48,
            "a goroutine without a number",
        )?;
        demand(
            reason.get(g) < 64,
            "a goroutine that waits for no known reason",
        )?;
        let start = start.get(g);
        demand(
            start == 0 || program.module_of(start).is_some(),
            "a goroutine that started outside the code",
        )?;
        ids.push(id.get(g));
    }
    demand(alive > 0, "no goroutine")?;
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    // Two reads of one moment: a number seen twice means that it is no number.
    demand(ids.len() == count, "two goroutines of one number")
}

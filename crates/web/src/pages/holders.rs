//! What holds the memory: a tree of holders that opens without scripts, a graph of the same, and how it
//! was found out.

use std::sync::Arc;

use inspect::LayoutSource;
use inspect::holders::{HolderKind, Site, again_words};
use maud::{Markup, html};
use model::{Incident, Kind};

use super::{descriptors, goroutines, parts};
use crate::error::ApiError;
use crate::evidence::HOLDERS_TYPE;
use crate::holders::{Cost, Held, Node, change};
use crate::words;

/// Where the page's script finds the tree of the graph.
pub(crate) fn graph_source(incident: &Incident, held: &Held) -> String {
    let target = words::segment(&held.target.0);
    let source = super::flame_source(incident, HOLDERS_TYPE);
    format!("{source}&target={target}")
}

/// What reading the looks came to.
pub(super) type Outcome = Result<Option<Arc<Held>>, ApiError>;

/// Lines of the tree, the biggest first: a page is made anew with every reading.
const LINES_MAX: usize = 300;
/// Holders above the fold.
const TOP_MAX: usize = 15;
/// A holder with less of the heap, and less of its growth, is below the fold.
const TOP_SHARE: f64 = 0.002;
/// Who has less of all growth does not stand out.
const GROWS_SHARE: f64 = 0.02;
/// Levels of the tree: a page that nests deeper is no help.
const LEVELS_MAX: usize = 16;
/// Letters of a type's name on a line.
const TYPE_LETTERS_MAX: usize = 90;
/// What every refusal of a look begins with.
const REFUSED: &str = "who holds the heap: ";

/// The sections of an incident or a target.
pub(super) fn sections(incident: &Incident, outcome: &Outcome) -> Markup {
    let held = match outcome {
        Ok(Some(held)) => held,
        Ok(None) => {
            return html! {
                section #descriptors data-part {}
                section #held data-part { (none_yet(incident)) }
                section #goroutines data-part {}
            };
        }
        Err(error) => {
            return html! {
                section #held data-part {
                    h2 { "What holds the memory" }
                    p .callout { "The looks cannot be read: " (error.text) "." }
                }
            };
        }
    };
    let graph = graph_source(incident, held);
    html! {
        section #descriptors data-part {
            @if incident.kind == Kind::Fd { (descriptors::section(held)) }
        }
        section #held data-part {
            h2 { "What holds the memory" }
            (how(held))
            (refusal(incident))
            (tree(held))
        }
        section .flame data-flame=(graph) data-unit="inuse_space" data-thing="holder" {
            h3 { "Who holds what, from the holder down" }
            noscript { p .quiet { "The graph needs scripts; the tree above has the same figures." } }
        }
        section #goroutines data-part {
            @if !held.groups.is_empty() { (goroutines::section(held)) }
        }
    }
}

fn none_yet(incident: &Incident) -> Markup {
    let refused = last_refusal(incident);
    html! {
        h2 { "What holds the memory" }
        @if refused.is_some() { (refusal(incident)) } @else {
            p .quiet { "Nobody has looked yet. A process on this host is looked into when its leak is found, and "
                "again when an incident is open, at least 20 s later." }
        }
    }
}

/// Why the last look that failed was not had; a later one takes it back.
fn last_refusal(incident: &Incident) -> Option<&str> {
    let mut events = incident.timeline.iter().rev();
    let last = events.find(|event| event.code == "holders" || event.text.starts_with(REFUSED))?;
    last.text.strip_prefix(REFUSED)
}

fn refusal(incident: &Incident) -> Markup {
    html! {
        @if let Some(reason) = last_refusal(incident) {
            p .callout { strong { "A look was refused. " } (reason) "." }
        }
    }
}

/// Whose, when, in which way, and at what cost.
fn how(held: &Held) -> Markup {
    let report = &held.report;
    let bytes = |value: u64| words::bytes(value as f64);
    let share = report.reached_bytes as f64 / report.heap.object_bytes.max(1) as f64;
    let layout = match report.layout {
        LayoutSource::Dwarf => "its debug information",
        LayoutSource::Table => "our table of that release",
    };
    html! {
        p {
            strong { (bytes(report.reached_bytes)) } " in "
            (words::count(report.reached_objects as f64)) " objects are in use, "
            (words::percent(share)) " of what is allocated"
            @if share < 0.95 { "; the rest is garbage that was not swept yet" }
            "."
            @if let Some(growth) = held.growth_bytes {
                " Between the two looks that changed by " strong { (signed(growth)) }
                @if let Some(seconds) = held.seconds() { " (" (rate(growth, seconds)) ")" }
                "."
            } @else { " There is only one look: it tells who is big, not who grows." }
        }
        details #held-how {
            summary { "How this was read" }
            dl .facts {
                @if let Some((since, cost)) = held.since {
                    div { dt { "First look" } dd { (parts::time(since)) ": " (costs(cost)) } }
                }
                div {
                    dt { @if held.since.is_some() { "Second look" } @else { "Look" } }
                    dd { (parts::time(held.at)) ": " (costs(held.cost)) }
                }
                div {
                    dt { "The process meanwhile" }
                    dd {
                        @if report.approximate {
                            "ran on: sizes are of no one moment. "
                            (words::count(report.blurred as f64)) " pieces were freed or moved while they were read."
                        } @else { "stood still: sizes are of one moment." }
                    }
                }
                div { dt { "Its Go" } dd { (report.go_version) ", read by " (layout) } }
                div { dt { "Target" } dd { (held.target) } }
            }
        }
    }
}

fn costs(cost: Cost) -> String {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    format!(
        "{:.2} s, {:.2} s of CPU, {} copied, {} of memory",
        seconds(cost.time_ms),
        seconds(cost.cpu_ms),
        words::bytes(cost.copied_bytes as f64),
        words::bytes(cost.memory_bytes as f64)
    )
}

fn tree(held: &Held) -> Markup {
    let lines = Lines::new(held);
    let all = held.holders.iter().filter(|node| lines.is_told(node));
    let all: Vec<&Node> = all.take(LINES_MAX).collect();
    let big = all.iter().take(TOP_MAX);
    let top = big.take_while(|node| stands_out(held, node)).count();
    let (top, small) = all.split_at(top.max(1).min(all.len()));
    let small_bytes = small
        .iter()
        .fold(0u64, |sum, node| sum.saturating_add(node.bytes));
    let report = &held.report;
    html! {
        div .held-head aria-hidden="true" {
            span { "Holder" } span .num { "Keeps" } span .num { "Share" } span .num { "Objects" }
            span .num { "Growth" }
        }
        ul .held {
            @for node in top { (line(held, &lines, node, "held", 0)) }
        }
        @if !small.is_empty() {
            details #held-small {
                summary { (words::count(small.len() as f64)) " smaller holders with " (words::bytes(small_bytes as f64)) }
                ul .held { @for node in small { (line(held, &lines, node, "held", 0)) } }
            }
        }
        @if top.is_empty() { p .quiet { "Nothing is held that is worth a line." } }
        p .quiet.small {
            "A size is what would go if the holder let go. "
            @if report.left_out.holders > 0 {
                (words::count(report.left_out.holders as f64)) " smaller holders with "
                (words::bytes(report.left_out.bytes as f64)) " are left out. "
            }
            @if lines.cut > 0 {
                (words::count(lines.cut as f64)) " smaller lines are cut here; the files below have them. "
            }
            @if held.is_cut { "Names or ways too long or too many for a page are cut." }
        }
    }
}

/// Whether a holder has enough of the heap, or of its growth, to be seen at once.
fn stands_out(held: &Held, node: &Node) -> bool {
    let share = node.bytes as f64 / held.report.reached_bytes.max(1) as f64;
    share >= TOP_SHARE
        || node
            .before
            .is_some_and(|before| grows(held, change(before, node.bytes)))
}

/// Whether a growth is enough of all growth to stand out.
fn grows(held: &Held, growth: i64) -> bool {
    let all = held.growth_bytes.unwrap_or(0).max(1);
    growth > 0 && growth as f64 >= all as f64 * GROWS_SHARE
}

/// Which lines there is room for.
struct Lines {
    /// The smallest size told.
    least: u64,
    cut: usize,
}

impl Lines {
    fn new(held: &Held) -> Self {
        let mut sizes = Vec::new();
        collect(&held.holders, 0, &mut sizes);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let least = sizes
            .get(LINES_MAX)
            .map_or(1, |size| size.saturating_add(1));
        let told = sizes.partition_point(|size| *size >= least);
        Self {
            least,
            cut: sizes.len() - told,
        }
    }

    fn is_told(&self, node: &Node) -> bool {
        // What is gone says by how much.
        node.bytes >= self.least.max(1)
    }
}

fn collect(nodes: &[Node], level: usize, sizes: &mut Vec<u64>) {
    if level >= LEVELS_MAX {
        return;
    }
    for node in nodes.iter().filter(|node| node.bytes > 0) {
        sizes.push(node.bytes);
        collect(&node.below, level + 1, sizes);
    }
}

/// One line and what is below it. Its id is made of the names above it, so that what a reader has
/// opened stays open when the page is made anew.
fn line(held: &Held, lines: &Lines, node: &Node, above: &str, level: usize) -> Markup {
    let kind = node
        .kind
        .map_or("", |kind| words::holder_kind(kind, node.roots));
    let id = model::target::fingerprint(&[above, kind, &node.name, &node.ty]);
    let below = node.below.iter().filter(|node| lines.is_told(node));
    let below: Vec<&Node> = match level + 1 < LEVELS_MAX {
        true => below.take(LINES_MAX).collect(),
        false => Vec::new(),
    };
    let has_more = node.allocated_at.is_some() || !node.used_by.is_empty();
    html! {
        li {
            @if below.is_empty() && !has_more {
                div .line { (figures(held, node)) }
            } @else {
                details id={ "h-" (id) } {
                    summary .line { (figures(held, node)) }
                    (more(node))
                    @if !below.is_empty() {
                        ul { @for node in below { (line(held, lines, node, &id, level + 1)) } }
                    }
                }
            }
        }
    }
}

fn figures(held: &Held, node: &Node) -> Markup {
    let share = node.bytes as f64 / held.report.reached_bytes.max(1) as f64;
    html! {
        span .name { (name(node)) }
        span .num { span .sr { "keeps " } @if node.is_approximate { "~" } (words::bytes(node.bytes as f64)) }
        span .num.share { (parts::bar(share, "fill")) span { (words::percent(share)) } }
        span .num { (words::count(node.objects as f64)) span .unit { " objects" } }
        span .num.growth { (growth(held, node)) }
    }
}

fn name(node: &Node) -> Markup {
    let step = node.name.trim();
    html! {
        @if let Some(kind) = node.kind {
            span .quiet { (words::holder_kind(kind, node.roots)) }
            strong .function { (node.name) }
            @if node.roots > 1 && matches!(kind, HolderKind::Goroutine | HolderKind::Timer) {
                span .quiet { " ×" (words::count(node.roots as f64)) }
            }
        } @else {
            span .function { @if step.is_empty() { "→" } @else { (step) } }
        }
        @if !node.ty.is_empty() { " " (ty(&node.ty)) }
        @if !node.again.is_empty() {
            span .quiet.small { " " (again_words(&node.again)) " " code { (node.again) } }
        }
    }
}

/// A generic type's name may take half a page: its beginning says enough, the rest is in reach.
fn ty(name: &str) -> Markup {
    let cut = name.char_indices().nth(TYPE_LETTERS_MAX);
    html! {
        @match cut {
            Some((at, _)) => code .type title=(name) { (name[..at]) "…" },
            None => code .type { (name) },
        }
    }
}

fn growth(held: &Held, node: &Node) -> Markup {
    html! {
        @match (node.before, held.since) {
            (_, None) => span .quiet.none { "–" },
            (None, _) => span .quiet title="It was not among the biggest, or was called otherwise, at the first look" { "new here" },
            (Some(before), _) => {
                @let growth = change(before, node.bytes);
                @match held.seconds() {
                    _ if growth == 0 => span .quiet { "unchanged" },
                    Some(seconds) => span .up[grows(held, growth)] title=(signed(growth)) { (rate(growth, seconds)) },
                    None => span .up[grows(held, growth)] { (signed(growth)) },
                }
            }
        }
    }
}

fn more(node: &Node) -> Markup {
    html! {
        @if let Some(site) = &node.allocated_at {
            p .more { "allocated in " span .function { (site.function) } (place(site)) }
        }
        @if !node.used_by.is_empty() {
            p .more { "used by " span .function { (node.used_by.join(", ")) } }
        }
    }
}

fn place(site: &Site) -> Markup {
    let file = site.file.rsplit('/').next().unwrap_or_default();
    html! {
        @if site.line > 0 { span .place title=(site.file) { (file) ":" (site.line) } }
    }
}

/// `+5.0 MiB`.
pub(super) fn signed(value: i64) -> String {
    let plus = if value > 0 { "+" } else { "" };
    format!("{plus}{}", words::bytes(value as f64))
}

fn rate(growth: i64, seconds: f64) -> String {
    words::bytes_per_minute(growth as f64 * 60.0 / seconds)
}

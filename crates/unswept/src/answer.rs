//! A verdict in words: for `diagnose`, and for what an incident says.

use model::verdict::{Finding, Suspect};
use model::{Judgement, Kind, UnixMs, Verdict};

use crate::text::{Line, Style, hang};
use crate::words;

/// Frames shown of the first suspect's stack.
const FRAMES_FIRST: usize = 8;
/// Frames shown of the others'.
const FRAMES_OTHERS: usize = 3;

/// The whole verdict.
pub(crate) fn lines(verdict: &Verdict, now: UnixMs, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (i, finding) in gathered(&verdict.findings).iter().enumerate() {
        if i > 0 {
            lines.push(Line::default());
        }
        lines.extend(finding_lines(verdict, finding, i == 0, now, width));
    }
    lines
}

/// The findings with all that is unsure in one, each reason once: what is still missing is the same
/// for heap, goroutines and the rest, and a person reads it once.
fn gathered(findings: &[Finding]) -> Vec<Finding> {
    let mut gathered: Vec<Finding> = Vec::new();
    for finding in findings {
        let unsure = |finding: &&mut Finding| finding.verdict == Judgement::Unsure;
        match gathered.iter_mut().find(unsure) {
            Some(first) if finding.verdict == Judgement::Unsure => {
                for reason in &finding.why {
                    if !first.why.iter().any(|known| known.text == reason.text) {
                        first.why.push(reason.clone());
                    }
                }
            }
            _ => gathered.push(finding.clone()),
        }
    }
    gathered
}

fn finding_lines(
    verdict: &Verdict,
    finding: &Finding,
    first: bool,
    now: UnixMs,
    width: usize,
) -> Vec<Line> {
    let mut lines = vec![headline(finding)];
    for (name, text) in facts(verdict, finding, first, now) {
        lines.extend(hang(
            Line::new(Style::Faint, format!("  {name:<9}")),
            &text,
            width,
        ));
    }
    if !finding.why.is_empty() {
        lines.push(Line::new(Style::Strong, "why"));
    }
    for reason in &finding.why {
        let mark = if reason.speaks_for == finding.verdict {
            "  + "
        } else {
            "  - "
        };
        lines.extend(hang(mark.into(), &reason.text, width));
    }
    lines.extend(suspects(&finding.suspects, width));
    if finding.verdict == Judgement::Leak && finding.suspects.is_empty() {
        lines.push(Line::new(Style::Strong, "suspects"));
        lines.push(
            "  none could be named: no profile or mapping of this target could be read".into(),
        );
    }
    if !finding.advice.is_empty() {
        lines.push(Line::new(Style::Strong, "what to do"));
    }
    for advice in &finding.advice {
        lines.extend(hang("  * ".into(), &advice.text, width));
    }
    lines
}

fn headline(finding: &Finding) -> Line {
    let style = words::verdict_style(finding.verdict);
    let word = match finding.verdict {
        Judgement::Leak => "LEAK",
        Judgement::NoLeak => "NO LEAK",
        Judgement::Unsure => "UNSURE",
    };
    let mut line = Line::new(style, word);
    if let Some(kind) = finding.kind {
        line.push(Style::Strong, format!("  {}", kind.as_str()));
        line.push(Style::Plain, format!(": {}", kind_in_words(kind)));
    }
    if let Some(confidence) = finding.confidence {
        line.push(
            Style::Plain,
            format!("  (confidence {})", words::percent(confidence)),
        );
    }
    line
}

fn facts(
    verdict: &Verdict,
    finding: &Finding,
    first: bool,
    now: UnixMs,
) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(growth) = &finding.growth {
        facts.push(("growth", words::rate_with_interval(growth)));
    }
    if let Some(onset) = finding.onset {
        facts.push(("since", format!("{onset} ({})", words::ago(onset, now))));
    }
    if first && let Some(limit) = verdict.limit_bytes {
        let source = verdict.limit_source.as_deref().unwrap_or("source unknown");
        let reached = words::time_to_limit(verdict)
            .map_or_else(String::new, |time| format!(", reached in {time}"));
        facts.push((
            "limit",
            format!("{} ({source}){reached}", words::bytes(limit as f64)),
        ));
    }
    if first {
        let window = verdict.window.to.since(verdict.window.from);
        facts.push((
            "judged",
            format!("over {}, up to {}", words::span(window), verdict.window.to),
        ));
    }
    facts
}

/// The suspects with their stacks; nothing when there are none.
pub(crate) fn suspects(suspects: &[Suspect], width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if !suspects.is_empty() {
        lines.push(Line::new(Style::Strong, "suspects"));
    }
    for (i, suspect) in suspects.iter().enumerate() {
        let rank = Line::from(format!("{:>3}. ", suspect.rank));
        lines.push(
            rank.with(Style::Strong, &suspect.function)
                .with(Style::Plain, place(suspect)),
        );
        let figures = figures(suspect);
        if !figures.is_empty() {
            lines.extend(hang("     ".into(), &figures, width));
        }
        if let Some(held) = held(suspect) {
            lines.extend(hang("     ".into(), &held, width));
        }
        if let Some(note) = &suspect.note {
            lines.extend(hang("     ".into(), note, width));
        }
        let frames = if i == 0 { FRAMES_FIRST } else { FRAMES_OTHERS };
        for frame in suspect.stack.iter().take(frames) {
            lines.push(Line::new(Style::Faint, format!("       {frame}")));
        }
        if suspect.stack.len() > frames {
            let more = suspect.stack.len() - frames;
            lines.push(Line::new(Style::Faint, format!("       and {more} more")));
        }
    }
    lines
}

/// `  file.go:41`, where it is known.
pub(crate) fn place(suspect: &Suspect) -> String {
    match (&suspect.file, suspect.line) {
        (Some(file), Some(line)) => format!("  {file}:{line}"),
        (Some(file), None) => format!("  {file}"),
        _ => String::new(),
    }
}

/// Share of the growth, and before and after.
pub(crate) fn figures(suspect: &Suspect) -> String {
    let mut parts = Vec::new();
    if let Some(share) = suspect.growth_share {
        parts.push(format!("{} of the growth", words::percent(share)));
    }
    if let Some(bytes) = change(suspect.bytes_before, suspect.bytes, |b| {
        words::bytes(b as f64)
    }) {
        parts.push(bytes);
    }
    if let Some(count) = change(suspect.count_before, suspect.count, words::count) {
        parts.push(format!("{count} {}", counted(suspect)));
    }
    parts.join(", ")
}

/// `held by main.sessions[key] (812 MiB, growing 5.0 MiB/min)`; a suspect that is the holder itself
/// `keeps` so much.
pub(crate) fn held(suspect: &Suspect) -> Option<String> {
    let held_by = suspect.held_by.as_ref()?;
    let Some(holder) = &suspect.holder else {
        let is_itself = *held_by == suspect.function;
        return (!is_itself).then(|| format!("held by {held_by}"));
    };
    let size = words::bytes(holder.bytes as f64);
    let growth = holder.growth_bytes_per_s.map_or_else(String::new, |per_s| {
        format!(", growing {}/min", words::bytes(per_s * 60.0))
    });
    if *held_by != suspect.function {
        return Some(format!("held by {held_by} ({size}{growth})"));
    }
    let site = holder.allocated_in.as_ref();
    let site = site.map_or_else(String::new, |site| format!(", allocated in {site}"));
    Some(format!("keeps {size}{growth}{site}"))
}

/// `12.0 MiB -> 398 MiB`, or what there is of it.
pub(crate) fn change(
    before: Option<u64>,
    after: Option<u64>,
    words: impl Fn(u64) -> String,
) -> Option<String> {
    let after = words(after?);
    Some(match before {
        Some(before) => format!("{} -> {after}", words(before)),
        None => after,
    })
}

fn counted(suspect: &Suspect) -> &'static str {
    use model::SuspectWhat;
    match suspect.what {
        SuspectWhat::Goroutine => "goroutines",
        SuspectWhat::Thread => "threads",
        SuspectWhat::Fd => "descriptors",
        SuspectWhat::Mapping => "mappings",
        _ => "objects",
    }
}

/// Of an answer that is not there yet: what is missing, in words.
pub(crate) fn waits_for(verdict: &Verdict) -> Option<&str> {
    let finding = verdict
        .findings
        .first()
        .filter(|f| f.verdict == Judgement::Unsure)?;
    let reason = finding
        .why
        .iter()
        .find(|reason| reason.speaks_for == Judgement::Unsure);
    reason
        .or(finding.why.first())
        .map(|reason| reason.text.as_str())
}

/// A kind as a person would say it.
pub(crate) fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::GoHeap => "the live Go heap grows",
        Kind::Goroutine => "goroutines pile up",
        Kind::NativeHeap => "memory of the C allocator grows",
        Kind::Resident => "resident memory grows",
        Kind::NativeMmap => "anonymous mappings outside Go grow",
        Kind::Native => "memory outside Go grows",
        Kind::Thread => "threads pile up",
        Kind::Fd => "file descriptors pile up",
        Kind::Shmem => "shared memory grows",
        Kind::Kernel => "kernel memory grows",
        Kind::Steady => "nothing grows",
        Kind::WarmUp => "it is still warming up",
        Kind::Plateau => "the growth has levelled off",
        Kind::Load => "memory follows the load",
        Kind::Season => "memory follows the time of day",
        Kind::GcSawtooth => "only the saw-tooth between collections",
        Kind::GcIdle => "the collector hardly runs",
        Kind::NotReturned => "the runtime keeps freed memory",
        Kind::Fragmentation => "spans that are mostly empty",
        Kind::PageCache => "file pages, which the kernel takes back",
        Kind::Step => "one step, then level",
        Kind::Spike => "up and down again",
        Kind::HugePages => "huge pages make more resident than is used",
        Kind::Swap => "pages come and go from swap",
        Kind::GoRuntime => "the runtime's own structures grow",
        Kind::Oom => "killed for lack of memory",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Reason;

    #[test]
    fn what_is_missing_is_said_once() {
        let mut verdict = crate::board::tests::unsure("shop", 1).verdict.unwrap();
        let mut other = verdict.findings[0].clone();
        other.why.truncate(1);
        other.why.push(Reason {
            text: "Something else.".into(),
            ..other.why[0].clone()
        });
        verdict.findings.push(other);
        let lines = lines(&verdict, UnixMs(1_795_300_200_000), 100);
        let text: String = lines.iter().map(|line| line.paint(false) + "\n").collect();
        assert_eq!(text.matches("UNSURE").count(), 1, "{text}");
        assert_eq!(text.matches("41 s of data").count(), 1, "{text}");
        assert!(text.contains("Something else."), "{text}");
    }

    #[test]
    fn the_holder_has_its_figures() {
        let mut suspect = crate::board::tests::suspect();
        assert_eq!(held(&suspect), None);
        suspect.held_by = Some("main.sessions[key]".into());
        assert_eq!(held(&suspect).unwrap(), "held by main.sessions[key]");
        suspect.holder = Some(model::Holder {
            name: "main.sessions".into(),
            kind: model::HolderKind::Global,
            path: "[key]".into(),
            ty: "*main.Session".into(),
            bytes: 812 << 20,
            bytes_before: Some(800 << 20),
            growth_bytes_per_s: Some(f64::from(5 << 20) / 60.0),
            allocated_in: Some("main.(*SessionCache).Put".into()),
            used_by: Vec::new(),
        });
        assert_eq!(
            held(&suspect).unwrap(),
            "held by main.sessions[key] (812 MiB, growing 5.0 MiB/min)"
        );
        suspect.function = "main.sessions[key]".into();
        assert_eq!(
            held(&suspect).unwrap(),
            "keeps 812 MiB, growing 5.0 MiB/min, allocated in main.(*SessionCache).Put"
        );
    }

    #[test]
    fn a_leak_in_words() {
        let verdict = crate::board::tests::target("shop", 4242).verdict.unwrap();
        let lines = lines(&verdict, UnixMs(1_795_300_200_000), 100);
        let text: String = lines.iter().map(|line| line.paint(false) + "\n").collect();
        insta::assert_snapshot!(text);
    }
}

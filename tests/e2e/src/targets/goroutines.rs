//! Goroutines as `runtime/pprof` writes them with `debug=2`, and whoever writes the same.
//!
//! A block is a line `goroutine 7 [chan receive, 2 minutes, locked to thread]:`, two lines a frame
//! (`main.f(0x1, ...)`, then a tab, the file, the line and the offset), at times a line for frames that
//! were left out, and two lines for who has created it. Blocks are apart by an empty line.

use std::collections::BTreeMap;

/// One goroutine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goroutine {
    /// What it waits for or does: `chan receive`.
    pub state: String,
    /// Whether it has a thread of its own.
    pub locked: bool,
    /// Innermost first, those that were left out as [`Goroutine::elided`] says.
    pub frames: Vec<Frame>,
    /// How many frames were left out, and before which of those given.
    pub elided: Option<(usize, usize)>,
    /// Who has created it and where; none for the first.
    pub created_by: Option<Frame>,
    /// The goroutine that has created it.
    pub creator: Option<u64>,
}

/// A call, inlined or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// `main.(*Cache[...]).Put`.
    pub function: String,
    /// `/path/to/file.go:12`.
    pub at: String,
}

/// All goroutines by their number.
///
/// # Errors
/// The first line that is not as it should be.
pub fn parse(text: &str) -> Result<BTreeMap<u64, Goroutine>, String> {
    let blocks = text
        .split("\n\n")
        .map(str::trim_end)
        .filter(|block| !block.is_empty());
    let mut all = BTreeMap::new();
    for block in blocks {
        let (id, goroutine) = parse_block(block)?;
        if all.insert(id, goroutine).is_some() {
            return Err(format!("goroutine {id} is there twice"));
        }
    }
    Ok(all)
}

fn parse_block(block: &str) -> Result<(u64, Goroutine), String> {
    let mut lines = block.lines();
    let head = lines.next().unwrap_or_default();
    let (id, mut goroutine) = parse_head(head).ok_or_else(|| format!("no head: {head}"))?;
    while let Some(line) = lines.next() {
        if let Some(count) = elided(line) {
            goroutine.elided = Some((count, goroutine.frames.len()));
            continue;
        }
        let place = lines.next().unwrap_or_default();
        let at = place
            .strip_prefix('\t')
            .ok_or_else(|| format!("no place of {line}: {place}"))?;
        // `+0x1c` is the offset into the function; inlined calls have none.
        let at = at.split(" +0x").next().unwrap_or(at).to_owned();
        if let Some(creator) = line.strip_prefix("created by ") {
            let (function, id) = match creator.rsplit_once(" in goroutine ") {
                Some((function, id)) => (function, id.parse().ok()),
                None => (creator, None),
            };
            goroutine.created_by = Some(Frame {
                function: function.to_owned(),
                at,
            });
            goroutine.creator = id;
        } else {
            let (function, _arguments) = line
                .rsplit_once('(')
                .ok_or_else(|| format!("no call: {line}"))?;
            goroutine.frames.push(Frame {
                function: function.to_owned(),
                at,
            });
        }
    }
    Ok((id, goroutine))
}

/// `goroutine 7 [chan receive, 2 minutes, locked to thread]:`; some versions and settings add more
/// between the number and the bracket, or behind it.
fn parse_head(line: &str) -> Option<(u64, Goroutine)> {
    let (id, rest) = line.strip_prefix("goroutine ")?.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (inside, _) = rest.rsplit_once(']')?;
    let mut parts = inside.split(", ");
    let state = parts.next()?.to_owned();
    let locked = parts.any(|part| part == "locked to thread");
    let goroutine = Goroutine {
        state,
        locked,
        frames: Vec::new(),
        elided: None,
        created_by: None,
        creator: None,
    };
    Some((id.parse().ok()?, goroutine))
}

/// `...52 frames elided...`.
fn elided(line: &str) -> Option<usize> {
    let count = line
        .strip_prefix("...")?
        .strip_suffix(" frames elided...")?;
    count.parse().ok()
}

/// What differs between two sets of goroutines, at most `most` of it, in words; goroutine 1 is left out,
/// for in one of them it was dumping.
#[must_use]
pub fn differences(
    theirs: &BTreeMap<u64, Goroutine>,
    ours: &BTreeMap<u64, Goroutine>,
    most: usize,
) -> Vec<String> {
    let mut found = Vec::new();
    for id in theirs
        .keys()
        .chain(ours.keys().filter(|id| !theirs.contains_key(id)))
    {
        let difference = match (theirs.get(id), ours.get(id)) {
            _ if *id == 1 => continue,
            (Some(theirs), Some(ours)) if theirs == ours => continue,
            (Some(theirs), Some(ours)) => format!("theirs {theirs:#?}\nours {ours:#?}"),
            (Some(theirs), None) => format!("missing here: {theirs:#?}"),
            (None, ours) => format!("not in theirs: {ours:#?}"),
        };
        if found.len() < most {
            found.push(format!("goroutine {id}: {difference}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
goroutine 1 [running]:
main.main()
\t/src/main.go:9 +0x1c

goroutine 7 gp=0x1 m=nil [chan receive (nil chan), 2 minutes, locked to thread]:
main.(*list1[...]).wait(0xc000012, {0x1, 0x2})
\t/src/a b/kinds.go:12 +0x20
main.inlined(...)
\t/src/kinds.go:13
...52 frames elided...
main.outer.func1({0xc000?, 0x0?}, ...)
\t/src/kinds.go:14 +0x30
created by main.kinds.func3 in goroutine 1
\t/src/kinds.go:15 +0x40
";

    fn frame(function: &str, at: &str) -> Frame {
        Frame {
            function: function.into(),
            at: at.into(),
        }
    }

    #[test]
    fn a_dump() {
        let all = parse(TEXT).expect("a dump");
        assert_eq!(all.keys().copied().collect::<Vec<_>>(), [1, 7]);
        let expected = Goroutine {
            state: "chan receive (nil chan)".into(),
            locked: true,
            frames: vec![
                frame("main.(*list1[...]).wait", "/src/a b/kinds.go:12"),
                frame("main.inlined", "/src/kinds.go:13"),
                frame("main.outer.func1", "/src/kinds.go:14"),
            ],
            elided: Some((52, 2)),
            created_by: Some(frame("main.kinds.func3", "/src/kinds.go:15")),
            creator: Some(1),
        };
        assert_eq!(all[&7], expected);
    }

    #[test]
    fn what_is_no_dump() {
        let rows = [
            ("no head", "main.main()\n\t/src/main.go:9"),
            ("no place", "goroutine 1 [running]:\nmain.main()"),
            ("no call", "goroutine 1 [running]:\nmain\n\t/src/main.go:9"),
            ("twice", "goroutine 1 [running]:\n\ngoroutine 1 [running]:"),
        ];
        for (name, text) in rows {
            assert!(parse(text).is_err(), "{name}");
        }
    }

    #[test]
    fn differences_are_seen() {
        let all = parse(TEXT).expect("a dump");
        assert!(differences(&all, &all, 9).is_empty());
        let changes: [(&str, &str, &str); 6] = [
            ("the state", "chan receive", "chan send"),
            ("the thread", ", locked to thread", ""),
            ("a frame", "main.inlined", "main.other"),
            ("a line", "kinds.go:13", "kinds.go:14"),
            ("the frames left out", "...52", "...51"),
            ("the creator", "main.kinds.func3", "main.kinds.func4"),
        ];
        for (name, from, to) in changes {
            let other = parse(&TEXT.replace(from, to)).expect("a dump");
            assert_eq!(differences(&all, &other, 9).len(), 1, "{name}");
        }
        let first = parse("goroutine 1 [running]:").expect("a dump");
        assert_eq!(differences(&all, &first, 9).len(), 1, "one is missing");
        assert_eq!(differences(&first, &all, 9).len(), 1, "one too many");
    }
}

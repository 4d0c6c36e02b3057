//! Patterns that people meet again and again: told by the standard library's or a known package's function in the
//! stack of the first suspects, by what their goroutines wait for, and by what holds them. Each is a piece of advice
//! with a section in docs/advice.md.

use model::verdict::Advice;
use model::{HolderKind, Kind, Suspect};

use crate::{Interpretation, advice};

/// Suspects that are looked at, while they have at least this part of the growth; where parts are not known, the first.
const LOOKED_AT: usize = 3;
const SHARE_LEAST: f64 = 0.2;
/// More advice than this is no advice.
const ADVICE_MAX: usize = 2;
/// Frames from the leaf that a pattern may be found in: what lies further out called what allocates or waits for
/// other reasons.
const DEPTH: usize = 16;

/// Goroutines of a library, and the functions through which own code asks for such. `net/http` is client and server: what
/// a handler writes to its response has nothing to do with the connections of a client.
const ASKED_BY: &[(&[&str], &[&str])] = &[(
    &[
        "net/http.(*persistConn).",
        "net/http.(*http2ClientConn).",
        "net/http.(*http2clientStream).",
        "net/http/internal/http2.(*ClientConn).",
        "net/http/internal/http2.(*clientStream).",
    ],
    &["net/http.(*Client).", "net/http.(*Transport)."],
)];

/// The beginnings of the names of what asks for goroutines that began in `function`, where that is known.
pub(crate) fn asked_by(function: &str) -> Option<&'static [&'static str]> {
    let begins = |names: &[&str]| names.iter().any(|name| function.starts_with(name));
    let mut all = ASKED_BY.iter();
    all.find(|(began, _)| begins(began)).map(|(_, asks)| *asks)
}

/// One pattern: a code, how to know it, and what to do.
struct Pattern {
    code: &'static str,
    of: Of,
    text: &'static str,
}

/// Where a pattern shows.
enum Of {
    /// In a function of a goroutine's stack that begins so.
    Goroutines(&'static [&'static str]),
    /// In what goroutines wait for, in the runtime's words.
    Waiting(&'static [&'static str]),
    /// In a function of an allocation's stack that begins so.
    Heap(&'static [&'static str]),
    /// In what holds the memory.
    Held(fn(&Suspect) -> bool),
}

/// The surer ones first: who waits in a client's connection waits in a select, too.
const PATTERNS: &[Pattern] = &[
    Pattern {
        code: "unread-body",
        of: Of::Goroutines(&[
            "net/http.(*persistConn).",
            "net/http.(*http2clientConnReadLoop).",
            "net/http/internal/http2.(*clientConnReadLoop).",
        ]),
        text: "Goroutines of an HTTP client's connections pile up: a response's body is not closed. Close it on every \
               way out (`defer resp.Body.Close()` after the check of the error, also for an unwanted status), and read \
               it to its end, so that the connection is used again. One `http.Client` serves all requests: one made for \
               each keeps its connections open.",
    },
    Pattern {
        code: "rows-not-closed",
        of: Of::Goroutines(&[
            "database/sql.(*Rows).awaitDone",
            "database/sql.(*Tx).awaitDone",
        ]),
        text: "Rows or transactions of database/sql stay open: `defer rows.Close()` after the check of the error, and \
               `rows.Err()` after the loop; every transaction ends by Commit or Rollback, on every way out.",
    },
    Pattern {
        code: "missing-cancel",
        of: Of::Goroutines(&[
            "context.(*cancelCtx).propagateCancel",
            "context.propagateCancel",
        ]),
        text: CANCEL,
    },
    Pattern {
        code: "idle-connections",
        of: Of::Goroutines(&["net/http.(*conn).serve", "net/http.(*http2serverConn)."]),
        text: "Goroutines of a server's connections pile up: clients keep connections open and send nothing, or read \
               nothing. Set ReadHeaderTimeout, IdleTimeout and WriteTimeout of http.Server: without them a silent \
               client is waited for without end.",
    },
    Pattern {
        code: "blocked-send",
        of: Of::Waiting(&["chan send", "chan send (nil chan)"]),
        text: "They wait to send on a channel that nobody receives from any more, most often because the receiver gave \
               up early, at a timeout or an error. Give the channel room for the one answer (`make(chan T, 1)`), or \
               select on `ctx.Done()` beside the send.",
    },
    Pattern {
        code: "blocked-receive",
        of: Of::Waiting(&["chan receive", "chan receive (nil chan)"]),
        text: "They wait to receive from a channel that nobody sends on or closes any more: whoever sends closes it on \
               every way out, or the receiver selects on `ctx.Done()`, too. A `for range ticker.C` never ends by \
               itself: Stop does not close the channel.",
    },
    Pattern {
        code: "blocked-select",
        of: Of::Waiting(&["select", "select (no cases)"]),
        text: "They wait in a select of which no case comes true: give it a `case <-ctx.Done()`, and see that the \
               context is cancelled.",
    },
    Pattern {
        code: "wait-group",
        of: Of::Waiting(&["sync.WaitGroup.Wait"]),
        text: "They wait for a WaitGroup that never comes to nothing: Done is missing on a way out (`defer wg.Done()` \
               first of all), or Add is called more often than goroutines start.",
    },
    Pattern {
        code: "lock-held",
        of: Of::Waiting(&[
            "sync.Mutex.Lock",
            "sync.RWMutex.Lock",
            "sync.RWMutex.RLock",
            "semacquire",
        ]),
        text: "They wait for a lock that somebody holds and does not release: the goroutine that has it waits for \
               something itself (find it in the goroutine dump by the type whose method they are in), or a way out lacks \
               its Unlock (`defer mu.Unlock()`).",
    },
    Pattern {
        code: "no-deadline",
        of: Of::Waiting(&["IO wait"]),
        text: "They wait for a peer that sends nothing: give connections deadlines (SetDeadline before each read or \
               write), clients a Timeout, servers ReadHeaderTimeout and IdleTimeout.",
    },
    Pattern {
        code: "timer-not-stopped",
        of: Of::Held(|suspect| {
            let timer = |holder: &model::Holder| holder.kind == HolderKind::Timer;
            suspect.holder.as_ref().is_some_and(timer)
        }),
        text: TIMER,
    },
    Pattern {
        code: "finalizer-holds",
        of: Of::Held(|suspect| {
            let finalizer = |holder: &model::Holder| {
                let kinds = [
                    HolderKind::Finalizer,
                    HolderKind::Cleanup,
                    HolderKind::Referent,
                ];
                kinds.contains(&holder.kind)
            };
            suspect.holder.as_ref().is_some_and(finalizer)
        }),
        text: "Objects with finalizers hold it. One that is part of a cycle is never finalized, and each collection frees \
               only one link of a chain of them: close explicitly, and use runtime.AddCleanup (Go 1.24), which does not \
               keep its object.",
    },
    Pattern {
        code: "missing-cancel",
        of: Of::Held(|suspect| {
            let held = suspect.held_by.as_deref().unwrap_or_default();
            let path = suspect.holder.as_ref().map_or("", |holder| &holder.path);
            held.contains(".cancelCtx") || path.contains(".cancelCtx") || path.contains(".children")
        }),
        text: CANCEL,
    },
    Pattern {
        code: "timer-not-stopped",
        of: Of::Heap(&[
            "time.NewTicker",
            "time.NewTimer",
            "time.AfterFunc",
            "time.After",
            "time.Tick",
        ]),
        text: TIMER,
    },
    Pattern {
        code: "missing-cancel",
        of: Of::Heap(&[
            "context.WithCancel",
            "context.withCancel",
            "context.WithTimeout",
            "context.WithDeadline",
            "context.(*cancelCtx)",
            "context.propagateCancel",
        ]),
        text: CANCEL,
    },
    Pattern {
        code: "label-values",
        of: Of::Heap(&["github.com/prometheus/client_golang/prometheus.(*metricMap)"]),
        text: "Metrics of client_golang pile up: every combination of label values is kept until it is deleted. Do not \
               use ids, addresses, whole URLs or error texts as label values.",
    },
    Pattern {
        code: "rows-not-closed",
        of: Of::Heap(&[
            "database/sql.(*DB).queryDC",
            "database/sql.(*DB).prepareDC",
            "database/sql.(*DB).beginDC",
        ]),
        text: "Rows, statements or transactions of database/sql pile up: close rows and statements (`defer rows.Close()`, \
               `defer stmt.Close()`), end transactions by Commit or Rollback, on every way out; prepare a statement once, \
               not for each request.",
    },
    Pattern {
        code: "whole-bodies",
        of: Of::Heap(&["io.ReadAll", "os.ReadFile", "io/ioutil.ReadAll"]),
        text: "What was read whole is kept. A part of it that is kept (a sub-slice; a string made from it without a copy) \
               keeps all of it: copy what is needed (bytes.Clone, strings.Clone) and drop the rest.",
    },
    Pattern {
        code: "buffer-grows",
        of: Of::Heap(&["bytes.(*Buffer)", "bytes.growSlice", "strings.(*Builder)"]),
        text: "A buffer grows. Reset empties it and keeps its array: one that once was large stays large, in a sync.Pool, \
               too. Put a bound on what is written to it, and do not put back what has grown beyond the usual size.",
    },
    Pattern {
        code: "map-grows",
        of: Of::Heap(&[
            "runtime.mapassign",
            "internal/runtime/maps.",
            "runtime.hashGrow",
            "runtime.makemap",
        ]),
        text: "A map is added to and not removed from: a cache needs a bound (a size, an age) and somebody who keeps it. \
               A map that was emptied keeps its tables: make a new one.",
    },
    Pattern {
        code: "appended-only",
        of: Of::Heap(&["runtime.growslice", "slices.Grow"]),
        text: "A slice is appended to and never shortened. Where it is shortened from the front (`s = s[1:]`), what was \
               cut off is kept until the next growth, and pointers in what was cut off at the end stay: clear them \
               (`clear(s[n:])`, slices.Delete).",
    },
];

const CANCEL: &str = "A context is derived and never cancelled: it stays in its parent's list until the parent ends, and keeps what \
     it refers to. Call the cancel function on every way out (`defer cancel()`), also after WithTimeout and \
     WithDeadline; `go vet` finds most (lostcancel).";

const TIMER: &str = "Timers or tickers that are not stopped hold what their functions refer to: call Stop on every way out. Before Go \
     1.23 a ticker is never freed without Stop, and a timer, so one of time.After in a loop, not before it fires; since \
     then both are freed when nobody refers to them.";

/// Adds to what was `found` of a leak of this kind the patterns that its first suspects show.
pub(crate) fn advise(kind: Kind, found: &mut Interpretation) {
    let looked_at = found.suspects.iter().take(LOOKED_AT).filter(|suspect| {
        let share = suspect.growth_share;
        share.map_or(suspect.rank <= 1, |share| share >= SHARE_LEAST)
    });
    let mut more: Vec<Advice> = Vec::new();
    for suspect in looked_at {
        let Some(pattern) = PATTERNS.iter().find(|one| one.of.shows(kind, suspect)) else {
            continue;
        };
        if more.len() < ADVICE_MAX && more.iter().all(|have| have.code != pattern.code) {
            more.push(advice(pattern.code, pattern.text));
        }
    }
    // Of suspects that were named before, by less evidence, nothing stays.
    let is_pattern = |advice: &Advice| PATTERNS.iter().any(|one| one.code == advice.code);
    found.advice.retain(|advice| !is_pattern(advice));
    found.advice.splice(0..0, more);
}

impl Of {
    fn shows(&self, kind: Kind, suspect: &Suspect) -> bool {
        let in_stack = |beginnings: &[&str]| {
            let mut stack = suspect.stack.iter().take(DEPTH);
            stack.any(|line| {
                beginnings
                    .iter()
                    .any(|beginning| line.starts_with(beginning))
            })
        };
        let goroutines = matches!(kind, Kind::Goroutine | Kind::Thread);
        match self {
            Self::Goroutines(beginnings) => goroutines && in_stack(beginnings),
            Self::Waiting(reasons) => {
                let note = suspect.note.as_deref().unwrap_or_default();
                let waits = note.strip_prefix(crate::goroutines::BLOCKED_IN);
                goroutines && waits.is_some_and(|waits| reasons.contains(&waits))
            }
            Self::Heap(beginnings) => kind == Kind::GoHeap && in_stack(beginnings),
            Self::Held(is_it) => kind.has_holders() && is_it(suspect),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::SuspectWhat;

    use super::*;

    fn suspect(stack: &[&str], note: Option<&str>) -> Suspect {
        Suspect {
            rank: 1,
            what: SuspectWhat::Allocation,
            function: "main.f".into(),
            file: None,
            line: None,
            bytes: None,
            count: None,
            bytes_before: None,
            count_before: None,
            growth_share: Some(0.9),
            stack: stack.iter().map(|name| format!("{name} x.go:1")).collect(),
            held_by: None,
            holder: None,
            note: note.map(|reason| format!("{}{reason}", crate::goroutines::BLOCKED_IN)),
        }
    }

    fn codes(kind: Kind, suspects: Vec<Suspect>) -> Vec<String> {
        let mut found = Interpretation {
            suspects,
            ..Interpretation::default()
        };
        advise(kind, &mut found);
        found.advice.into_iter().map(|advice| advice.code).collect()
    }

    /// A leak's kind, the stack of its first suspect, what its goroutines wait for, and the codes.
    type Row = (
        Kind,
        &'static [&'static str],
        Option<&'static str>,
        &'static [&'static str],
    );

    #[test]
    fn what_a_stack_shows() {
        let rows: [Row; 8] = [
            (
                Kind::Goroutine,
                &["runtime.gopark", "net/http.(*persistConn).readLoop"],
                Some("select"),
                &["unread-body"],
            ),
            (
                Kind::Goroutine,
                &["runtime.gopark", "runtime.chansend", "main.(*Quoter).send"],
                Some("chan send"),
                &["blocked-send"],
            ),
            (
                Kind::GoHeap,
                &["internal/runtime/maps.newGroups", "main.(*Cache).Put"],
                None,
                &["map-grows"],
            ),
            (
                Kind::GoHeap,
                &["context.withCancel", "context.WithCancel", "main.serve"],
                None,
                &["missing-cancel"],
            ),
            (Kind::GoHeap, &["main.(*Cache).Put"], None, &[]),
            (
                Kind::GoHeap,
                &["bytes.growSlice", "main.f"],
                None,
                &["buffer-grows"],
            ),
            (Kind::Goroutine, &["bytes.growSlice", "main.f"], None, &[]),
            (Kind::Fd, &["io.ReadAll"], None, &[]),
        ];
        for (kind, stack, note, want) in rows {
            assert_eq!(codes(kind, vec![suspect(stack, note)]), want, "{stack:?}");
        }
    }

    #[test]
    fn who_has_little_of_the_growth_is_not_looked_at() {
        let mut small = suspect(&["io.ReadAll"], None);
        (small.rank, small.growth_share) = (2, Some(0.05));
        let large = suspect(&["runtime.growslice"], None);
        assert_eq!(codes(Kind::GoHeap, vec![large, small]), ["appended-only"]);
    }

    #[test]
    fn every_pattern_is_on_the_page() {
        let page = include_str!("../../../docs/advice.md");
        for pattern in PATTERNS {
            let heading = format!("`{}`", pattern.code);
            assert!(
                page.contains(&heading),
                "{heading} is not in docs/advice.md"
            );
        }
    }
}

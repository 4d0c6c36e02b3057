//! Functions that the runtime treats apart, and which frames it shows.

use crate::functions::{FunctionId, Functions};

/// The numbers (`abi.FuncID`) of functions with a meaning for tracebacks. They differ between versions, so they
/// are learnt from the functions that bear them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) cgocallback: Option<u8>,
    sigpanic: Option<u8>,
    async_preempt: Option<u8>,
    debug_call: Option<u8>,
    gopanic: Option<u8>,
    panicwrap: Option<u8>,
    main: Option<u8>,
    corostart: Option<u8>,
    finalizers: Option<u8>,
    cleanups: Option<u8>,
    wrapper: Option<u8>,
    /// Go 1.25 and newer show the function that runs finalizers.
    shows_finalizers: bool,
}

impl Ids {
    pub(super) fn learn(functions: &Functions) -> Self {
        let id = |name: &str| {
            let id = functions.by_name(name).map(|id| functions.func_id(id));
            id.filter(|&id| id != 0)
        };
        let new_finalizers = id("runtime.runFinalizers");
        Self {
            cgocallback: id("runtime.cgocallback"),
            sigpanic: id("runtime.sigpanic"),
            async_preempt: id("runtime.asyncPreempt"),
            debug_call: id("runtime.debugCallV2"),
            gopanic: id("runtime.gopanic"),
            panicwrap: id("runtime.panicwrap"),
            main: id("runtime.main"),
            corostart: id("runtime.corostart"),
            finalizers: new_finalizers.or_else(|| id("runtime.runfinq")),
            cleanups: id("runtime.runCleanups"),
            // The last of the numbers, for all functions that the compiler made up; no function is named so.
            wrapper: id("runtime.systemstack_switch").and_then(|id| id.checked_add(1)),
            shows_finalizers: new_finalizers.is_some(),
        }
    }

    /// Was this call made by a signal or a debugger, and not by its caller.
    pub(super) fn is_injected(&self, id: u8) -> bool {
        [self.sigpanic, self.async_preempt, self.debug_call].contains(&Some(id))
    }

    /// Is a frame left out of every traceback: of a wrapper whose callee is the wrapped function.
    pub(super) fn is_elided(&self, id: u8, callee: u8) -> bool {
        let callees = [self.gopanic, self.sigpanic, self.panicwrap];
        Some(id) == self.wrapper && !callees.contains(&Some(callee))
    }

    /// Does a traceback at the usual level (`GOTRACEBACK=single`) show the frame.
    pub(super) fn is_shown(&self, name: &str, id: u8, callee: u8, is_first: bool) -> bool {
        if self.is_elided(id, callee) {
            return false;
        }
        if self.shows_finalizers && [self.finalizers, self.cleanups].contains(&Some(id)) {
            return true;
        }
        if name == "runtime.gopanic" && !is_first {
            return true;
        }
        match name.strip_prefix("runtime.") {
            None => name.contains('.'),
            Some(name) => is_exported(name),
        }
    }
}

/// Is a function of package runtime for users: it and the type it belongs to begin with a capital letter.
fn is_exported(name: &str) -> bool {
    let capital = |name: &str| name.starts_with(|first: char| first.is_ascii_uppercase());
    match name.rsplit_once('.') {
        None => capital(name),
        Some((receiver, name)) => {
            let inner = receiver
                .strip_prefix("(*")
                .and_then(|rest| rest.strip_suffix(')'));
            capital(name) && capital(inner.unwrap_or(receiver))
        }
    }
}

/// Does a goroutine that began in `function` belong to the runtime, so that dumps leave it out.
///
/// `finalizer_runs`: the finalizer goroutine is in a user's function; `cleanup_runs`: this goroutine is a
/// cleanup goroutine in a user's function.
pub(super) fn is_system(
    ids: &Ids,
    functions: &Functions,
    function: FunctionId,
    finalizer_runs: bool,
    cleanup_runs: bool,
) -> bool {
    let id = Some(functions.func_id(function)).filter(|&id| id != 0);
    if id.is_some() {
        if id == ids.main || id == ids.corostart {
            return false;
        }
        if id == ids.finalizers {
            return !finalizer_runs;
        }
        if id == ids.cleanups {
            return !cleanup_runs;
        }
    }
    functions.name(function).starts_with("runtime.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_shown_as_tracebacks_do() {
        let ids = Ids {
            gopanic: Some(10),
            sigpanic: Some(20),
            panicwrap: Some(15),
            wrapper: Some(23),
            finalizers: Some(18),
            shows_finalizers: true,
            ..Ids::default()
        };
        let rows = [
            ("a user's", "main.f", 0, 0, true, true),
            ("the runtime's", "runtime.gopark", 0, 0, true, false),
            ("an exported one", "runtime.GC", 0, 0, true, true),
            (
                "an exported method",
                "runtime.(*Frames).Next",
                0,
                0,
                true,
                true,
            ),
            (
                "a method of a hidden type",
                "runtime.(*mheap).Alloc",
                0,
                0,
                true,
                false,
            ),
            (
                "a hidden method",
                "runtime.(*Func).entry",
                0,
                0,
                true,
                false,
            ),
            ("C", "crosscall2", 0, 0, true, false),
            (
                "a panic in the middle",
                "runtime.gopanic",
                10,
                0,
                false,
                true,
            ),
            ("a panic first", "runtime.gopanic", 10, 0, true, false),
            ("a wrapper", "main.(*T).f", 23, 0, false, false),
            ("a wrapper that panics", "main.(*T).f", 23, 15, false, true),
            ("finalizers", "runtime.runFinalizers", 18, 0, true, true),
            ("no name", "", 0, 0, true, false),
        ];
        for (row, name, id, callee, is_first, want) in rows {
            assert_eq!(ids.is_shown(name, id, callee, is_first), want, "{row}");
        }
        let unknown = Ids::default();
        assert!(
            unknown.is_shown("main.f", 0, 0, true),
            "numbers that are not known mean nothing"
        );
        assert!(!unknown.is_injected(0));
    }
}

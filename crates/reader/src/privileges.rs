//! Capabilities: the main process gives up all of them, the reader all but two, and the keeper all but
//! those and one more.
//!
//! Source: capabilities(7). Capability sets belong to a thread, which is why all this happens
//! before there is a second one.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, no_new_privs, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use crate::error::ReaderError;

/// What the reader keeps: other users' `/proc/PID` files, and files that only root may read.
pub(crate) const KEPT: CapabilitySet =
    CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// What entering network namespaces takes, those of other users' processes too.
pub(crate) const DIALING: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_PTRACE);

/// What the keeper keeps, for itself and for readers to come.
pub(crate) const KEEPING: CapabilitySet = KEPT.union(DIALING);

/// The kernel's capability numbers fit 64 bits.
const NUMBERS: std::ops::Range<u32> = 0..64;

fn number(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

fn step<T>(step: &'static str, result: rustix::io::Result<T>) -> Result<T, ReaderError> {
    result.map_err(|errno| ReaderError::Privileges {
        step,
        source: io::Error::from(errno),
    })
}

/// Lets a child keep `wanted`, and nothing else, over exec where we have them: root gets them anyway,
/// an ordinary user only through the ambient set. Best effort: the child says what it got.
pub(crate) fn pass_on(wanted: CapabilitySet) {
    let Ok(sets) = capabilities(None) else { return };
    let _ = clear_ambient_capability_set();
    let inheritable = sets.permitted & wanted;
    let with_inheritable = CapabilitySets {
        inheritable,
        ..sets
    };
    if set_capabilities(None, with_inheritable).is_ok() {
        for capability in inheritable.iter() {
            let _ = configure_capability_in_ambient_set(capability, true);
        }
    }
}

/// What `start` makes, a child that gets what a reader keeps: this thread, which has no more, passes that on
/// for this moment only.
pub(crate) fn passing_on<T>(start: impl FnOnce() -> T) -> T {
    pass_on(KEPT);
    let started = start();
    if let Err(error) = keep_only(KEPT) {
        // What could be given up once can be again: this does not happen.
        tracing::warn!("what a child was given could not be taken back: {error}");
    }
    started
}

/// Gives up every capability but `kept`, in every set, and the way back; then checks it.
///
/// The bounding set can only be cut by a process that has CAP_SETPCAP; without it no_new_privs
/// makes the set meaningless.
///
/// # Errors
/// If a step is refused, or something is left afterwards.
pub(crate) fn keep_only(kept: CapabilitySet) -> Result<CapabilitySet, ReaderError> {
    let before = step("capget", capabilities(None))?;
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for capability in NUMBERS.map(number).filter(|&one| !kept.contains(one)) {
            // An error means that the kernel does not know the number.
            if capability_is_in_bounding_set(capability) == Ok(true) {
                step(
                    "bounding set",
                    remove_capability_from_bounding_set(capability),
                )?;
            }
        }
    }
    step("ambient set", clear_ambient_capability_set())?;
    let left = before.permitted & kept;
    let sets = CapabilitySets {
        effective: left,
        permitted: left,
        inheritable: CapabilitySet::empty(),
    };
    step("capset", set_capabilities(None, sets))?;
    step("no_new_privs", set_no_new_privs(true))?;
    check(kept, before.effective.contains(CapabilitySet::SETPCAP))?;
    Ok(left)
}

fn check(kept: CapabilitySet, bounding_too: bool) -> Result<(), ReaderError> {
    let now = step("capget", capabilities(None))?;
    let mut left = (now.effective | now.permitted).difference(kept) | now.inheritable;
    for capability in NUMBERS.map(number) {
        let bounding = bounding_too
            && !kept.contains(capability)
            && capability_is_in_bounding_set(capability) == Ok(true);
        if bounding || capability_is_in_ambient_set(capability) == Ok(true) {
            left |= capability;
        }
    }
    let mut names = names(left);
    if no_new_privs() != Ok(true) {
        names.push("the right to gain new ones".to_owned());
    }
    if names.is_empty() {
        Ok(())
    } else {
        Err(ReaderError::PrivilegesLeft {
            left: names.join(", "),
        })
    }
}

/// The effective capabilities of the calling thread.
pub(crate) fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// `CAP_SYS_PTRACE` and the like; a number where there is no name.
pub(crate) fn names(set: CapabilitySet) -> Vec<String> {
    NUMBERS
        .map(number)
        .filter(|&one| set.contains(one))
        .map(|one| {
            let name = CapabilitySet::all().iter_names().find(|(_, of)| *of == one);
            match name {
                Some((name, _)) => format!("CAP_{name}"),
                None => format!("capability {}", one.bits().trailing_zeros()),
            }
        })
        .collect()
}

/// Threads of this process.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(names(KEPT), ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"]);
        assert_eq!(names(number(60)), ["capability 60"]);
        assert!(names(CapabilitySet::empty()).is_empty());
    }
}

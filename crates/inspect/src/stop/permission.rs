//! May this process be traced by us, and if not: who refuses, and what would help.
//!
//! Whether is asked of the kernel itself: a read of one byte through `process_vm_readv(2)` passes the very check that
//! attaching does, and touches nothing. Why is put together from what `/proc` tells, in the order in which the
//! kernel asks. Source: "Ptrace access mode checking" in `ptrace(2)`, and the kernel's `Yama.rst`.

use std::fs;
use std::io::IoSliceMut;
use std::os::unix::fs::MetadataExt;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};

use super::proc::Status;
use super::tracees::raw;

const CAP_SYS_PTRACE: u64 = 1 << 19;

/// Who does not let us trace a process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not there, or ended.
    #[error("there is no such process")]
    NoProcess,
    /// Somebody else traces it, and only one can.
    #[error("it is already traced by process {tracer} ({name})")]
    Traced {
        /// The tracer; zero when it lives in a pid namespace that we do not see.
        tracer: u32,
        /// Its name.
        name: String,
    },
    /// It lives in another user namespace (a container with its own users).
    #[error("it lives in another user namespace (a container), where we have no rights")]
    OtherUserNamespace,
    /// Its user is not ours, and CAP_SYS_PTRACE is missing.
    #[error("it runs as uid {theirs}, we as uid {ours}, without CAP_SYS_PTRACE")]
    OtherUser {
        /// Our uid.
        ours: u32,
        /// The target's.
        theirs: u32,
    },
    /// Its group is not ours, and CAP_SYS_PTRACE is missing.
    #[error("it runs as gid {theirs}, we as gid {ours}, without CAP_SYS_PTRACE")]
    OtherGroup {
        /// Our gid.
        ours: u32,
        /// The target's.
        theirs: u32,
    },
    /// It may not be dumped: it changed its user, has file capabilities, or asked for it (`PR_SET_DUMPABLE`).
    #[error(
        "it may not be dumped (it changed its user, has capabilities of its file, or asked for it), and we lack CAP_SYS_PTRACE"
    )]
    NotDumpable,
    /// Yama lets only an ancestor trace, or nobody.
    #[error("kernel.yama.ptrace_scope is {scope}: {}", yama(*scope))]
    Yama {
        /// The value of the setting.
        scope: u8,
    },
    /// It has capabilities that we do not have.
    #[error("it has capabilities that we lack (mask {missing:#x}), and we lack CAP_SYS_PTRACE")]
    MoreCapable {
        /// What we lack, as the mask in `/proc/PID/status`.
        missing: u64,
    },
    /// None of the reasons that can be seen from outside: a security module or a filter of system calls.
    #[error(
        "the kernel refuses for a reason that it does not show (a security module, or a filter of system calls)"
    )]
    Unexplained,
}

fn yama(scope: u8) -> &'static str {
    match scope {
        1 => "only an ancestor may trace it without CAP_SYS_PTRACE",
        2 => "CAP_SYS_PTRACE is needed",
        _ => "nobody may trace, until the next boot",
    }
}

impl Refusal {
    /// What the user can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoProcess => "look for its new pid".into(),
            Self::Traced { tracer, name } => {
                format!("end the trace of process {tracer} ({name}), or look without stopping")
            }
            Self::OtherUserNamespace => "run from the host with CAP_SYS_PTRACE, or inside the container as its user \
                 (Kubernetes: a debug container with SYS_PTRACE that shares the process namespace)"
                .into(),
            Self::OtherUser { theirs, .. } => {
                format!("run as uid {theirs}, or with CAP_SYS_PTRACE (setcap cap_sys_ptrace+ep)")
            }
            Self::OtherGroup { theirs, .. } => {
                format!("run with gid {theirs} as the only group, or with CAP_SYS_PTRACE")
            }
            Self::NotDumpable | Self::MoreCapable { .. } => {
                "run with CAP_SYS_PTRACE (setcap cap_sys_ptrace+ep)".into()
            }
            Self::Yama { scope: 0..=2 } => {
                "run with CAP_SYS_PTRACE, or set kernel.yama.ptrace_scope to 0 (sysctl)".into()
            }
            Self::Yama { .. } => "it can only be changed by a reboot: use a core file".into(),
            Self::Unexplained => "look for a profile of AppArmor or SELinux, and for the container's seccomp profile \
                 (ptrace and process_vm_readv)"
                .into(),
        }
    }
}

/// Asks whether we may attach to `pid`, and read its memory, now. Costs one system call when we may.
///
/// # Errors
/// The [`Refusal`], with [`Refusal::remedy`].
pub fn may_ptrace(pid: u32) -> Result<(), Refusal> {
    let status = Status::of(pid).map_err(|_| Refusal::NoProcess)?;
    if status.is_dead() {
        return Err(Refusal::NoProcess);
    }
    if status.tracer != 0 {
        // What is told is the tracing thread.
        let tracer = Status::of(status.tracer).map_or(0, |thread| thread.process);
        let name = Status::of(tracer).map(|process| process.name);
        return Err(Refusal::Traced {
            tracer,
            name: name.unwrap_or_default(),
        });
    }
    let mut byte = [0];
    // Nothing is ever mapped there, so a permitted read fails with EFAULT.
    let nowhere = RemoteIoVec { base: 8, len: 1 };
    match process_vm_readv(raw(pid), &mut [IoSliceMut::new(&mut byte)], &[nowhere]) {
        Ok(_) | Err(nix::Error::EFAULT) => Ok(()),
        Err(nix::Error::ESRCH) => Err(Refusal::NoProcess),
        Err(_) => Err(Facts::gather(pid, status).judge()),
    }
}

/// What the kernel looks at.
#[derive(Debug, Clone, Default)]
struct Facts {
    us: Status,
    target: Status,
    dumpable: bool,
    /// Unknown when the link may not be read.
    same_user_namespace: Option<bool>,
    /// Ours is the first user namespace: a capability there holds in all.
    initial: bool,
    yama: Option<u8>,
    descendant: bool,
}

impl Facts {
    fn gather(pid: u32, target: Status) -> Self {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
        Self {
            us: Status::of(std::process::id()).unwrap_or_default(),
            // Files of a process that may not be dumped belong to root, whoever it runs as.
            dumpable: fs::metadata(format!("/proc/{pid}/environ"))
                .map_or(true, |file| file.uid() == target.uids[1]),
            same_user_namespace: namespace("self")
                .zip(namespace(&pid.to_string()))
                .map(|(ours, theirs)| ours == theirs)
                .or_else(|| has_other_users(pid).then_some(false)),
            initial: fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_initial(&map)),
            yama: fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
                .ok()
                .and_then(|text| parse_scope(&text)),
            descendant: descends_from_us(&target),
            target,
        }
    }

    /// The first reason in the kernel's order; only asked when it has refused.
    fn judge(&self) -> Refusal {
        let (us, target) = (&self.us, &self.target);
        let powerful = us.cap_effective & CAP_SYS_PTRACE != 0;
        if self.same_user_namespace == Some(false) && !(powerful && self.initial) {
            return Refusal::OtherUserNamespace;
        }
        if !powerful {
            if target.uids[..3].iter().any(|&uid| uid != us.uids[0]) {
                return Refusal::OtherUser {
                    ours: us.uids[0],
                    theirs: target.uids[1],
                };
            }
            if target.gids[..3].iter().any(|&gid| gid != us.gids[0]) {
                return Refusal::OtherGroup {
                    ours: us.gids[0],
                    theirs: target.gids[1],
                };
            }
            if !self.dumpable && target.uids[1] != 0 {
                return Refusal::NotDumpable;
            }
            let missing = target.cap_permitted & !us.cap_permitted;
            if missing != 0 {
                return Refusal::MoreCapable { missing };
            }
        }
        match self.yama {
            Some(scope @ 3..) => Refusal::Yama { scope },
            Some(2) if !powerful => Refusal::Yama { scope: 2 },
            Some(1) if !powerful && !self.descendant => Refusal::Yama { scope: 1 },
            // With the capability, and yet refused: it holds in another namespace than ours.
            _ if powerful && !self.initial && self.same_user_namespace.is_none() => {
                Refusal::OtherUserNamespace
            }
            _ => Refusal::Unexplained,
        }
    }
}

/// Whether users have other numbers there: then it is another namespace, whose link may not be read.
fn has_other_users(pid: u32) -> bool {
    let map = |pid: &str| fs::read_to_string(format!("/proc/{pid}/uid_map")).ok();
    let maps = map("self").zip(map(&pid.to_string()));
    maps.is_some_and(|(ours, theirs)| ours != theirs)
}

/// The map of the first namespace: all users are themselves.
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The value of `kernel.yama.ptrace_scope`.
fn parse_scope(text: &str) -> Option<u8> {
    text.trim().parse().ok()
}

fn descends_from_us(target: &Status) -> bool {
    let (us, mut parent) = (std::process::id(), target.parent);
    // A pid namespace is at most 32 deep, a chain of parents is longer; but somewhere it must end.
    for _ in 0..1024 {
        if parent == us {
            return true;
        }
        match Status::of(parent) {
            Ok(status) if parent > 1 => parent = status.parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, caps: u64) -> Status {
        Status {
            uids: [uid; 4],
            gids: [uid; 4],
            cap_permitted: caps,
            cap_effective: caps,
            ..Status::default()
        }
    }

    fn facts(us: Status, target: Status) -> Facts {
        Facts {
            us,
            target,
            dumpable: true,
            same_user_namespace: Some(true),
            initial: false,
            yama: None,
            descendant: false,
        }
    }

    #[test]
    fn the_first_reason_in_the_kernels_order_is_named() {
        let plain = || facts(user(1000, 0), user(1000, 0));
        let with = |change: fn(&mut Facts)| {
            let mut facts = plain();
            change(&mut facts);
            facts
        };
        let rows: &[(&str, Facts, Refusal)] = &[
            (
                "another user",
                facts(user(65534, 0), user(1000, 0)),
                Refusal::OtherUser {
                    ours: 65534,
                    theirs: 1000,
                },
            ),
            (
                "one of its uids",
                with(|f| f.target.uids[2] = 0),
                Refusal::OtherUser {
                    ours: 1000,
                    theirs: 1000,
                },
            ),
            (
                "another group",
                with(|f| f.target.gids = [7; 4]),
                Refusal::OtherGroup {
                    ours: 1000,
                    theirs: 7,
                },
            ),
            (
                "not dumpable",
                with(|f| f.dumpable = false),
                Refusal::NotDumpable,
            ),
            (
                "more capable",
                with(|f| f.target.cap_permitted = 1 << 10),
                Refusal::MoreCapable { missing: 1 << 10 },
            ),
            (
                "yama 1",
                with(|f| f.yama = Some(1)),
                Refusal::Yama { scope: 1 },
            ),
            (
                "yama 1, our child",
                with(|f| (f.yama, f.descendant) = (Some(1), true)),
                Refusal::Unexplained,
            ),
            (
                "yama 2, our child",
                with(|f| (f.yama, f.descendant) = (Some(2), true)),
                Refusal::Yama { scope: 2 },
            ),
            (
                "yama 3 stops root too",
                with(|f| (f.yama, f.us.cap_effective) = (Some(3), !0)),
                Refusal::Yama { scope: 3 },
            ),
            ("yama 0", with(|f| f.yama = Some(0)), Refusal::Unexplained),
            (
                "container",
                with(|f| f.same_user_namespace = Some(false)),
                Refusal::OtherUserNamespace,
            ),
            (
                "capable, link unreadable",
                with(|f| (f.same_user_namespace, f.us.cap_effective) = (None, !0)),
                Refusal::OtherUserNamespace,
            ),
            (
                "capable everywhere, and refused all the same",
                with(|f| {
                    (f.same_user_namespace, f.us.cap_effective, f.initial) = (None, !0, true);
                }),
                Refusal::Unexplained,
            ),
            (
                "capable only in the permitted set",
                facts(
                    Status {
                        cap_effective: 0,
                        ..user(1, CAP_SYS_PTRACE)
                    },
                    user(2, 0),
                ),
                Refusal::OtherUser { ours: 1, theirs: 2 },
            ),
        ];
        for (name, facts, want) in rows {
            assert_eq!(&facts.judge(), want, "{name}");
            assert!(!want.remedy().is_empty(), "{name}");
        }
    }

    #[test]
    fn the_first_user_namespace_maps_everybody() {
        assert!(is_initial("         0          0 4294967295\n"));
        for map in ["         0       1000          1\n", "0 0 65536\n", ""] {
            assert!(!is_initial(map), "{map:?}");
        }
    }

    #[test]
    fn the_setting_of_yama_is_read_as_the_kernel_writes_it() {
        let rows = [
            ("1\n", Some(1)),
            ("0\n", Some(0)),
            ("3", Some(3)),
            ("", None),
            ("x\n", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse_scope(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_child_may_be_traced_and_a_missing_process_is_said() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        assert_eq!(may_ptrace(child.id()), Ok(()));
        child.kill().unwrap();
        // Dead, and not yet waited for.
        while !Status::of(child.id()).unwrap().is_dead() {
            std::thread::yield_now();
        }
        assert_eq!(may_ptrace(child.id()), Err(Refusal::NoProcess));
        child.wait().unwrap();
        assert_eq!(may_ptrace(u32::MAX), Err(Refusal::NoProcess));
    }
}

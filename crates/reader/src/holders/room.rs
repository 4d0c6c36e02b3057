//! How much memory a look may take without bringing anybody near a limit.

use model::Clock;

use super::HoldersFailure;
use crate::cgroup::{self, Mount};
use crate::container;
use crate::procfs;

/// Of what the host has available a look takes at most three quarters.
const HOST_PARTS: (u64, u64) = (3, 4);
/// What a limit of our own must keep free: this, or a tenth of it if that is more.
const HEADROOM_MIN: u64 = 128 << 20;
/// With less a look is not worth beginning.
const LEAST: u64 = 64 << 20;

/// The bytes a look may take now. Our own cgroup's limit binds us and whoever shares it with us,
/// the target in a sidecar's pod first of all.
pub(super) fn room(mounts: &[Mount], clock: &dyn Clock) -> Result<u64, HoldersFailure> {
    let meminfo = std::fs::read("/proc/meminfo").unwrap_or_default();
    // Kernels before 3.14 do not tell: nothing is known to be short then.
    let available = procfs::parse_meminfo(&meminfo).1.unwrap_or(u64::MAX);
    spare(available, own_limit(mounts, clock))
}

/// Usage and limit of our own cgroup.
fn own_limit(mounts: &[Mount], clock: &dyn Clock) -> Option<(u64, u64)> {
    let membership = std::fs::read("/proc/self/cgroup").ok()?;
    let membership = cgroup::parse_membership(&membership);
    let (mount, below) = cgroup::locate(mounts, &membership)?;
    let own = container::read_memory(&mount.mount_point, mount.version, &below, clock.now())?;
    // Pages of files are given back when somebody needs them.
    Some((own.held_bytes(), own.limit_bytes?))
}

fn spare(available: u64, own: Option<(u64, u64)>) -> Result<u64, HoldersFailure> {
    let host = available / HOST_PARTS.1 * HOST_PARTS.0;
    let own = own.map_or(u64::MAX, |(used, limit)| {
        let headroom = HEADROOM_MIN.max(limit / 10);
        limit.saturating_sub(used).saturating_sub(headroom)
    });
    let (room, bytes) = if own < host {
        ("the cgroup that unswept runs in", own)
    } else {
        ("the host", host)
    };
    if bytes < LEAST {
        let room = room.to_owned();
        return Err(HoldersFailure::NoRoom { room, bytes });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_of_host_and_cgroup_decides() {
        let mib = |n: u64| n << 20;
        let rows = [
            ("plenty", mib(8192), None, Ok(mib(6144))),
            ("a short host", mib(80), None, Err("the host")),
            (
                "a limit of ours",
                mib(8192),
                Some((mib(100), mib(512))),
                Ok(mib(284)),
            ),
            (
                "near that limit",
                mib(8192),
                Some((mib(350), mib(512))),
                Err("the cgroup that unswept runs in"),
            ),
            (
                "a tenth of a big limit stays free",
                mib(81920),
                Some((0, mib(10240))),
                Ok(mib(9216)),
            ),
            (
                "past the limit",
                mib(8192),
                Some((mib(600), mib(512))),
                Err("the cgroup that unswept runs in"),
            ),
        ];
        for (name, available, own, want) in rows {
            match (spare(available, own), want) {
                (Ok(bytes), Ok(want)) => assert_eq!(bytes, want, "{name}"),
                (Err(HoldersFailure::NoRoom { room, .. }), Err(want)) => {
                    assert_eq!(room, want, "{name}");
                }
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }
}

//! What our own processes use, as the kernel tells everybody: `/proc/PID/stat` and `status`.

use std::time::Duration;

use collect::Source;
use model::fleet::OwnProcess;

/// What each of our processes has used. The children that the reader has waited for (those that open
/// programs and look into them) come as one: each has limits of its own, which the kernel keeps.
pub(crate) fn of_all(source: &Source, ticks_per_s: u64) -> Vec<OwnProcess> {
    let status = source.reader.status();
    let own = std::process::id();
    let reader = status.greeting.map(|greeting| greeting.pid);
    // A reader that is a thread of ours is counted with us.
    let reader = reader.filter(|pid| *pid != own);
    let seconds = |ticks: u64| ticks as f64 / ticks_per_s.max(1) as f64;
    let mut all = Vec::new();
    let pids = [
        ("main", Some(own)),
        ("reader", reader),
        ("keeper", status.keeper),
    ];
    for (role, pid) in pids
        .into_iter()
        .filter_map(|(role, pid)| Some((role, pid?)))
    {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else {
            continue;
        };
        let [cpu, of_children] = ticks(&stat).unwrap_or_default();
        // The program's own pages are shared by all of them: counted once.
        let field = if pid == own { "VmRSS:" } else { "RssAnon:" };
        all.push(OwnProcess {
            role: role.into(),
            cpu_seconds: seconds(cpu),
            memory_bytes: bytes(&status, field).unwrap_or(0),
        });
        if role == "reader" {
            all.push(OwnProcess {
                role: "children".into(),
                cpu_seconds: seconds(of_children),
                memory_bytes: 0,
            });
        }
    }
    all
}

/// CPU time and memory that the budget is about: of all but the children.
pub(crate) fn sum(all: &[OwnProcess]) -> (Duration, u64) {
    let counted = all.iter().filter(|one| one.role != "children");
    let cpu = counted.clone().map(|one| one.cpu_seconds).sum::<f64>();
    let memory = counted.map(|one| one.memory_bytes).sum();
    (Duration::try_from_secs_f64(cpu).unwrap_or_default(), memory)
}

/// The ticks of a process and those of the children it has waited for, of the text of
/// `/proc/PID/stat`. Its second field is a name in brackets that may hold anything.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // utime, stime, cutime and cstime are fields 14 to 17, counted from 1; the state is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some([
        field(14)?.saturating_add(field(15)?),
        field(16)?.saturating_add(field(17)?),
    ])
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_whatever_the_name_is() {
        let stat = "12 (a) R (b)) S 1 12 12 0 -1 4194560 3 0 0 0 241 18 70 5 20 0 9 0 55 1 2";
        assert_eq!(ticks(stat), Some([259, 75]));
        for broken in [
            "",
            "12 (a",
            "12 (a) S 1 2",
            "12 (a) S 1 1 1 0 -1 4 3 0 0 0 x 1 1 1",
        ] {
            assert_eq!(ticks(broken), None, "{broken:?}");
        }
        let status = "Name:\tunswept\nVmRSS:\t   40052 kB\nRssAnon:\t    8000 kB\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(40_052 << 10));
        assert_eq!(bytes(status, "RssAnon:"), Some(8_000 << 10));
        assert_eq!(bytes(status, "RssShmem:"), None);
    }

    #[test]
    fn children_have_budgets_of_their_own() {
        let one = |role: &str, cpu_seconds, memory_bytes| OwnProcess {
            role: role.into(),
            cpu_seconds,
            memory_bytes,
        };
        let all = [
            one("main", 1.5, 10),
            one("reader", 0.5, 5),
            one("children", 40.0, 0),
        ];
        assert_eq!(sum(&all), (Duration::from_secs(2), 15));
    }
}

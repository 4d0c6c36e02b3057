//! Where a stopped thread stands, without attaching to it.

use super::Registers;

/// The registers of thread `tid` of process `pid` from `/proc/PID/task/TID/syscall`, on amd64. Nothing for a
/// thread that runs: the kernel knows the registers of stopped and sleeping threads only.
///
/// The file has the number of the system call and its arguments, or `-1` outside of one, then stack pointer and
/// program counter; see `Documentation/filesystems/proc.rst` of the Linux source. The kernel has no link register
/// there, so this is not enough on arm64.
pub fn stopped_thread(pid: u32, tid: u64) -> Option<Registers> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<Registers> {
    let mut words = text.split_ascii_whitespace().rev();
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (pc, sp) = (number()?, number()?);
    Some(Registers::new(pc, sp, 0, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_words_are_taken() {
        let registers = |pc, sp| Some(Registers::new(pc, sp, 0, &[]));
        let rows = [
            (
                "outside of a call",
                "-1 0x7ffd10 0x401234\n",
                registers(0x40_1234, 0x7f_fd10),
            ),
            (
                "in a call",
                "202 0x1 0x80 0x0 0x0 0x0 0x0 0xc000051e48 0x46e5a3\n",
                registers(0x46_e5a3, 0xc0_0005_1e48),
            ),
            ("running", "running\n", None),
            ("no kernel that tells", "-1\n", None),
            ("empty", "", None),
        ];
        for (name, text, want) in rows {
            assert_eq!(parse(text), want, "{name}");
        }
    }
}

//! arm64. Register names and their order, which is that of DWARF: `user_regs_struct` of the kernel's
//! `uapi/asm/ptrace.h`.
//! Compiled, not yet run on a machine of this kind.

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::Registers;

/// The registers of a thread that is in our hands and stopped.
pub(in crate::stop) fn registers(tid: Pid) -> nix::Result<Registers> {
    let r = ptrace::getregs(tid)?;
    Ok(Registers {
        pc: r.pc,
        sp: r.sp,
        lr: r.regs[30],
        general: r.regs.to_vec(),
    })
}

//! amd64. Register names and their order: `user_regs_struct` of `sys/user.h`.

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::Registers;

/// The registers of a thread that is in our hands and stopped.
pub(in crate::stop) fn registers(tid: Pid) -> nix::Result<Registers> {
    let r = ptrace::getregs(tid)?;
    Ok(Registers {
        pc: r.rip,
        sp: r.rsp,
        lr: 0,
        general: vec![
            r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx,
            r.rdx, r.rsi, r.rdi,
        ],
    })
}

//! amd64. Register names: `user_regs_struct` of `sys/user.h`; numbers: System V ABI for x86-64, "DWARF Register Number Mapping".

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
            r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11,
            r.r12, r.r13, r.r14, r.r15,
        ],
    })
}

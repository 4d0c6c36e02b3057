// Package allow lets others look into the program that imports it.
package allow

import "syscall"

// Where Yama's ptrace_scope is 1, as on many desktops, a user's process may be read by its ancestors
// only; a process may allow more (PR_SET_PTRACER, PR_SET_PTRACER_ANY). Elsewhere the kernel refuses this
// call, which changes nothing.
func init() {
	const setPtracer, any = 0x59616d61, ^uintptr(0)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setPtracer, any, 0)
}

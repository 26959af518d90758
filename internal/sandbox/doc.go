// Package sandbox runs a program in namespaces of its own (mount, pid, network, ipc, uts),
// where it sees the system's programs and libraries read-only, the folders it was given, and
// nothing else of this machine: no other file, no other process, and unless it was asked
// for, no network. It holds no capability and can gain none (no_new_privs).
//
// The kernel makes namespaces for root, and for others through a user namespace, where the
// machine's policy permits them; [Probe] says why not. A [Box] turns an exec.Cmd into one
// that starts this very binary first: main must call [Enter] before anything else, so that
// it can build the new root, give up every right and start the program. That first process
// stays as the namespace's number 1: it passes the exit status on, and with it everything
// ends.
//
// Where namespaces are refused, as by the default profile of a container, a Box with Landlock set uses the
// kernel's Landlock in their place, which is weaker and needs no right: [ProbeLandlock].
//
// It does not defend against: a fault of the kernel's own system calls, which are not filtered, and
// the use of processor, memory and disk, which is not bounded.
package sandbox

package pgcluster

import "syscall"

// endWithParent makes the kernel end the server when its starter dies: SIGQUIT is an immediate
// shutdown.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }

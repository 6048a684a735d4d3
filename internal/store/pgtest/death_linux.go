package pgtest

import "syscall"

// dieWithParent has a program be killed when this process ends, however it does.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGQUIT }

//go:build unix && !linux

package pgtest

import "syscall"

// dieWithParent does nothing: only Linux kills a program with its parent. A test process that is killed leaves its server.
func dieWithParent(*syscall.SysProcAttr) {}

//go:build unix

package adapter

import (
	"os"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminate(process *os.Process) { _ = process.Signal(syscall.SIGTERM) }

//go:build unix

package adapter

import (
	"os"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminate(process *os.Process) { _ = process.Signal(syscall.SIGTERM) }

// killGroup ends what is left of the process's group, of which it is the head.
func killGroup(process *os.Process) { _ = syscall.Kill(-process.Pid, syscall.SIGKILL) }

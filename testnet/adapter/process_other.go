//go:build !unix

package adapter

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// terminate relies on the closed standard input: there is no SIGTERM here.
func terminate(*os.Process) {}

func killGroup(*os.Process) {}

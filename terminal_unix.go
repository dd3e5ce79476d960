//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// noStopInBackground lets a program that reads its terminal run in the background: it then reads nothing, in place of being
// stopped.
func noStopInBackground() { signal.Ignore(syscall.SIGTTIN) }

//go:build !linux

package bench

import (
	"time"

	"hanse/testnet/adapter"
)

// usageKnown tells whether a process's use of CPU and memory can be read here: figures of it are left out.
const usageKnown = false

func cpuTime(*adapter.Process) time.Duration { return 0 }
func ownTime() time.Duration                 { return 0 }
func machineTime() time.Duration             { return 0 }

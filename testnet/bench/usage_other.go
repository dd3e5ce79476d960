//go:build !linux

package bench

import "time"

// usageKnown tells whether a process's use of CPU and memory can be read here: figures of it are left out.
const usageKnown = false

func cpuTime(int) time.Duration      { return 0 }
func ownTime() time.Duration         { return 0 }
func machineTime() time.Duration     { return 0 }
func resident(int) (now, peak int64) { return 0, 0 }
func resetPeak(int)                  {}

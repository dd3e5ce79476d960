package bench

import (
	"os"
	"strconv"
	"strings"
	"time"

	"hanse/testnet/adapter"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every Linux of today.
const clockTick = 10 * time.Millisecond

// usageKnown tells whether a process's use of CPU and memory can be read here.
const usageKnown = true

// cpuTime is the CPU time that a server's process and all below it have used, those included that have ended.
func cpuTime(server *adapter.Process) time.Duration {
	var total time.Duration
	for _, process := range server.Tree() {
		total += processTime(strconv.Itoa(process), 4) // utime, stime, cutime, cstime
	}
	return total
}

// ownTime is the CPU time of this process alone.
func ownTime() time.Duration { return processTime("self", 2) }

// processTime adds up the first fields of a process's times.
func processTime(process string, fields int) time.Duration {
	const utime = 11 // its place after the name
	stat, _ := os.ReadFile("/proc/" + process + "/stat")
	_, rest, _ := strings.Cut(string(stat), ") ") // the name before it may hold blanks
	values := strings.Fields(rest)
	if len(values) < utime+fields {
		return 0 // gone
	}
	var total time.Duration
	for _, value := range values[utime : utime+fields] {
		ticks, _ := strconv.ParseInt(value, 10, 64)
		total += time.Duration(ticks) * clockTick
	}
	return total
}

// machineTime is the CPU time that everybody on this machine has used.
func machineTime() time.Duration {
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	var total time.Duration
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue // the name; idle and waiting for the disk; guests, who are counted above
		}
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * clockTick
	}
	return total
}

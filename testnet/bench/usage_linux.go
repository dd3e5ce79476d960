package bench

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every Linux of today.
const clockTick = 10 * time.Millisecond

// usageKnown tells whether a process's use of CPU and memory can be read here.
const usageKnown = true

// processTree is a process and all below it.
func processTree(pid int) []int {
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(tree[i]) + "/task") // gone: nothing below it
		for _, task := range tasks {
			children, _ := os.ReadFile("/proc/" + strconv.Itoa(tree[i]) + "/task/" + task.Name() + "/children")
			for _, child := range strings.Fields(string(children)) {
				if number, err := strconv.Atoi(child); err == nil {
					tree = append(tree, number)
				}
			}
		}
	}
	return tree
}

// cpuTime is the CPU time that a process and all below it have used, those included that have ended.
func cpuTime(pid int) time.Duration {
	var total time.Duration
	for _, process := range processTree(pid) {
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

// resident is the memory that a process and all below it hold now, and the most since resetPeak, in bytes.
func resident(pid int) (now, peak int64) {
	for _, process := range processTree(pid) {
		status, _ := os.ReadFile("/proc/" + strconv.Itoa(process) + "/status")
		for line := range strings.Lines(string(status)) {
			switch fields := strings.Fields(line); {
			case len(fields) < 2:
			case fields[0] == "VmRSS:":
				now += kilobytes(fields[1])
			case fields[0] == "VmHWM:":
				peak += kilobytes(fields[1])
			}
		}
	}
	return now, peak
}

func kilobytes(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n << 10
}

// resetPeak makes the memory that is held now the most that was held.
func resetPeak(pid int) {
	for _, process := range processTree(pid) {
		_ = os.WriteFile("/proc/"+strconv.Itoa(process)+"/clear_refs", []byte("5"), 0) // where it can't be written, the peak is that of the process's life
	}
}

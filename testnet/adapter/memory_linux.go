package adapter

import (
	"os"
	"strconv"
	"strings"
)

// Tree is the server's process and all below it, by their numbers.
func (p *Process) Tree() []int {
	tree := []int{p.PID()}
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

// Memory is what the server holds in memory now, all of its processes together, and the most since ResetPeak, in bytes; 0 where
// the system doesn't tell.
func (p *Process) Memory() (now, peak int64) {
	for _, process := range p.Tree() {
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
	n, _ := strconv.ParseInt(text, 10, 64) // the system writes numbers
	return n << 10
}

// ResetPeak makes the memory that is held now the most that was held.
func (p *Process) ResetPeak() {
	for _, process := range p.Tree() {
		_ = os.WriteFile("/proc/"+strconv.Itoa(process)+"/clear_refs", []byte("5"), 0) // where it can't be written, the peak is that of the process's life
	}
}

//go:build !linux

package adapter

// Tree is the server's process alone: this system doesn't tell what is below it.
func (p *Process) Tree() []int { return []int{p.PID()} }

// Memory is 0: this system doesn't tell.
func (p *Process) Memory() (now, peak int64) { return 0, 0 }

// ResetPeak does nothing.
func (p *Process) ResetPeak() {}

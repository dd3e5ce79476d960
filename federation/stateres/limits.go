package stateres

import "hanse/federation/dag"

const (
	// maxChain bounds the events of the auth chains that one resolution walks. Beyond it the full conflicted set is smaller than the
	// specification has it; what stands in the result is held against the authorisation rules all the same.
	maxChain = dag.MaxAuthChain

	// maxCiting bounds how many events that cite a doubtful one are followed by Citations. Beyond it the state is
	// scanned, which needs less memory.
	maxCiting = 100_000

	// keptWhole is how many bytes of events one resolution keeps whole, and about how many more of those that it looks into one after the other.
	// Of an event beyond it some hundred bytes are in memory.
	keptWhole = 16 << 20

	// batch is how many events are asked for at a time at most: not all may be needed, and it takes 16 MiB if each is as large as
	// can be.
	batch = 256
)

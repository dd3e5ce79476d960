package stateres

import "hanse/federation/dag"

const (
	// maxChain bounds the events of the auth chains that one resolution walks. Beyond it the full conflicted set is smaller than the
	// specification has it; what stands in the result is held against the authorisation rules all the same.
	maxChain = dag.MaxAuthChain

	// maxCiting bounds how many events that cite a doubtful one are followed by Citations. Beyond it the state is
	// scanned, which needs less memory.
	maxCiting = 100_000

	// batch is how many events are asked for at a time where it is likely that not all are needed.
	batch = 256
)

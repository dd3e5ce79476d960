package stateres

import "hanse/federation/dag"

const (
	// maxChain bounds the events of the auth chains that one resolution walks.
	maxChain = dag.MaxAuthChain

	// maxCiting bounds how many events that cite a doubtful one are followed by Citations. Beyond it the state is
	// scanned, which needs less memory.
	maxCiting = 100_000

	// batch is how many events are asked for at a time where it is likely that not all are needed.
	batch = 256
)

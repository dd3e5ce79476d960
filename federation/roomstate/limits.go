package roomstate

const (
	// leafSize is how many entries a leaf holds before it is split. Small leaves make a change cheap (the leaf is
	// copied, hashed and written again), large ones make a state small and the way to an entry short, and what a
	// store pays is mostly the number of nodes: a change in a room of 100,000 members writes five, of 3 kB together.
	leafSize = 32

	// maxEntries bounds a state that is read: more than a hundred times the largest public rooms. It keeps a node
	// that lies about its size from making us allocate or fetch without end.
	maxEntries = 1 << 24

	// maxText bounds one text inside a node: an event is at most 65,536 bytes, and so is each text in it.
	maxText = 1 << 16
)

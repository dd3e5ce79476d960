package roomstate

const (
	// leafSize is how many entries a leaf holds before it is split. Small leaves make a change cheap (the leaf is
	// copied and written again), large ones make a state small: eight entries are about 600 bytes in the store.
	leafSize = 8

	// maxEntries bounds a state that is read: more than a hundred times the largest public rooms. It keeps a node
	// that lies about its size from making us allocate or fetch without end.
	maxEntries = 1 << 24

	// maxText bounds one text inside a node: an event is at most 65,536 bytes, and so is each text in it.
	maxText = 1 << 16
)

package canonicaljson

const (
	// MaxNesting is how deep arrays and objects may stand in each other. Reading recurses,
	// so there must be a bound; this one is about where deployed servers stop (Python's
	// recursion limit), far beyond any real event.
	MaxNesting = 1000

	// MaxValues is how many values and keys a text may have that isn't canonical yet: each takes some 60 bytes while it is put
	// in order. It is far beyond a transaction of 50 of the largest events, as they are; what is canonical already has no
	// such bound.
	MaxValues = 1 << 19

	// maxDigits bounds an integer in Lenient mode. It is where deployed servers stop
	// (Python's limit on the conversion of integers).
	maxDigits = 4300

	// maxInteger is the greatest integer of canonical JSON; -maxInteger is the least.
	maxInteger = 1<<53 - 1
)

package id

const (
	// MaxLength is the greatest length of an identifier in bytes, with its sigil and domain.
	// The specification gives it for user IDs, room IDs, aliases and event IDs. Server names
	// are held to it too: a longer one could not stand in any of them.
	MaxLength = 255

	// maxErrorText bounds what an error repeats of a refused text, so that a log line stays
	// a line whatever a peer sends.
	maxErrorText = 64

	// hashLength is the length of a SHA-256 hash in unpadded Base64.
	hashLength = 43

	// maxPortDigits is the number of digits the grammar of server names gives a port.
	maxPortDigits = 5

	// maxPort is the greatest TCP port.
	maxPort = 65535
)

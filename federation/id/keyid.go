package id

import "strings"

// KeyID names a key of a server, or of whoever else signs: "algorithm:name".
//
// spec:appendices#signing-details
type KeyID string

const keyID = "key ID"

// ParseKeyID checks that s has an algorithm and a name. The name has the characters the
// server-server API gives it, [a-zA-Z0-9_], and those found in deployed keys: '.', '-', '+',
// '/' and '=' (cross-signing and policy server keys are named by their Base64).
//
// spec:server-server-api#retrieving-server-keys
func ParseKeyID(s string) (KeyID, error) {
	if len(s) > MaxLength {
		return "", refuse(keyID, s, "it has more than 255 bytes")
	}
	algorithm, name, found := strings.Cut(s, ":")
	switch {
	case !found:
		return "", refuse(keyID, s, "it has no colon between the algorithm and the name")
	case algorithm == "":
		return "", refuse(keyID, s, "its algorithm is empty")
	case name == "":
		return "", refuse(keyID, s, "its name is empty")
	}
	for i := range len(algorithm) {
		if c := algorithm[i]; !isDigit(c) && !isLetter(c) && c != '_' && c != '-' && c != '.' {
			return "", refuse(keyID, s, "its algorithm contains other characters than letters, digits and _-.")
		}
	}
	for i := range len(name) {
		if c := name[i]; !isDigit(c) && !isLetter(c) && strings.IndexByte("_.-+/=", c) < 0 {
			return "", refuse(keyID, s, "its name contains other characters than letters, digits and _.-+/=")
		}
	}
	return KeyID(s), nil
}

// Algorithm is the part before the colon: "ed25519".
func (k KeyID) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(k), ":")
	return algorithm
}

// Name is the part after the colon.
func (k KeyID) Name() string {
	_, name, _ := strings.Cut(string(k), ":")
	return name
}

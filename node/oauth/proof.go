package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// challengeBytes is the length of an S256 challenge: a SHA-256 hash in base64.
const challengeBytes = 43

// isChallenge tells whether a text can be an S256 code challenge. RFC 7636, section 4.2.
func isChallenge(text string) bool {
	hash, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(text) == challengeBytes && len(hash) == sha256.Size
}

// Proves tells whether a verifier is that of an S256 challenge. RFC 7636, sections 4.1 and 4.6.
func Proves(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || !isChallenge(challenge) {
		return false
	}
	if strings.ContainsFunc(verifier, func(r rune) bool { return !isLetterOrDigit(r) && !strings.ContainsRune("-._~", r) }) {
		return false
	}
	hash := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(hash[:])), []byte(challenge)) == 1
}

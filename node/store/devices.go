package store

import (
	"crypto/sha256"
	"time"

	"hanse/federation/id"
)

// Device is a login of a user.
type Device struct {
	User        id.UserID
	ID          string
	DisplayName string
	Created     time.Time
	LastSeen    time.Time // zero = never
	LastSeenIP  string
	UserAgent   string
}

// TokenHash is what is stored of an access token: who reads the database can't log in.
type TokenHash [sha256.Size]byte

// HashToken makes the hash of an access token. Tokens are long random strings: no salt or cost is needed.
func HashToken(token string) TokenHash { return sha256.Sum256([]byte(token)) }

// Access is what an access token stands for.
type Access struct {
	User        id.UserID
	Device      string
	Admin       bool
	Guest       bool
	Deactivated bool
}

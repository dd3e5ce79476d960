package store

import (
	"time"

	"hanse/federation/id"
)

// User is a local account.
type User struct {
	ID           id.UserID
	PasswordHash string // in the form of the hashing package; "" = no login by password
	Admin        bool
	Guest        bool
	Deactivated  bool
	Created      time.Time
}

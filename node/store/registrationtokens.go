package store

import "time"

// RegistrationToken lets people register while registration is closed.
type RegistrationToken struct {
	Token   string
	Uses    int       // completed registrations
	Allowed int       // 0 = no limit
	Expires time.Time // zero = never
}

package roomstate

import (
	"crypto/sha256"
	"testing"
)

// A path is made of the hash of the type and of that of the whole key, whether the former is known beforehand or not.
func TestPath(t *testing.T) {
	known := 0
	for _, key := range []Key{
		{"m.room.create", ""}, {"m.room.member", "@ada:example.org"}, {"m.room.power_levels", ""}, {"m.room.join_rules", "x"},
		{"m.room.topic", ""}, {"", ""}, {"m.room.member\x00", "@ada:example.org"},
	} {
		var want path
		typ, all := sha256.Sum256([]byte(key.Type)), sha256.Sum256([]byte(key.Type+"\x00"+key.StateKey))
		copy(want[:], typ[:typeNibbles/2])
		copy(want[typeNibbles/2:], all[:])
		if got := pathOf(key.Type, key.StateKey); got != want {
			t.Errorf("%q: %x, not %x", key, got, want)
		}
		if _, ok := knownType(key.Type); ok {
			known++
		}
	}
	if known != 4 {
		t.Errorf("%d types are known", known)
	}
}

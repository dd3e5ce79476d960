package store

import "testing"

func TestManyStartsDontForgetALongLeap(t *testing.T) {
	leaps := []leap{{From: 10, To: 1000}}
	for at := Position(1000); at < 1000+10*maxLeaps; at += 2 {
		leaps = bounded(append(leaps, leap{at, at + 1}))
	}
	if len(leaps) != maxLeaps || leaps[0] != (leap{From: 10, To: 1000}) {
		t.Errorf("%d leaps, the first %v", len(leaps), leaps[0])
	}
}

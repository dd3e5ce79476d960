package peer

import (
	"strings"
	"testing"
)

// TestBrief: what the journal leaves out is said.
func TestBrief(t *testing.T) {
	whole := strings.Repeat("x", maxBrief)
	if got := Brief([]byte(whole)); got != whole {
		t.Errorf("a body that is short enough became %q", got)
	}
	if got, want := Brief([]byte(whole[1:]+"ä"+whole)), whole[1:]+" … (of 2001 bytes)"; got != want {
		t.Errorf("a long one became %q, not %q", got, want)
	}
}

package store

import (
	"slices"
	"testing"

	"hanse/federation/id"
	"hanse/federation/room"
)

// TestReceivers: a commit's receivers are all servers that get one of its events, each once, and their list is not made anew where all
// events go to the same ones.
func TestReceivers(t *testing.T) {
	all := []id.ServerName{"c.example", "a.example", "b.example"}
	most, other := all[:2], []id.ServerName{"d.example", "a.example"}
	for _, c := range []struct {
		name   string
		sends  [][]id.ServerName
		want   []id.ServerName
		shared bool
	}{
		{"nothing is sent", nil, nil, false},
		{"the same ones", [][]id.ServerName{all, all, all}, all, true},
		{"a shorter list in the same place", [][]id.ServerName{all, most}, []id.ServerName{"a.example", "b.example", "c.example"}, false},
		{"others in between", [][]id.ServerName{most, other, most}, []id.ServerName{"a.example", "c.example", "d.example"}, false},
	} {
		var sends []room.Send
		for _, servers := range c.sends {
			sends = append(sends, room.Send{Servers: servers})
		}
		got := receivers(sends)
		if !slices.Equal(got, c.want) || c.shared != (len(got) > 0 && sameSlice(got, all)) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

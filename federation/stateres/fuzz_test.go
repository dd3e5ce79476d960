package stateres

import (
	"math/rand/v2"
	"testing"

	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// FuzzResolve resolves the states of rooms that the input has grown, with contents that are none among them, states that no graph has and
// events that are lost: as the slow algorithms do, the same in any order and from any source, and each event is asked for twice at most.
func FuzzResolve(f *testing.F) {
	f.Add(byte(1), []byte{})
	f.Add(byte(5), []byte("power levels, then a ban on a fork, then the join that it is to undo"))
	f.Add(byte(11), []byte{7, 90, 3, 200, 41, 0, 255, 13, 180, 66, 5, 99, 230, 17, 128, 64, 32, 250, 8, 190, 77, 21, 144, 3, 61, 209, 118, 45})
	r := rand.New(rand.NewPCG(1, 0))
	for version := range byte(len(roomversion.All())) {
		deeds := make([]byte, 900)
		for i := range deeds {
			deeds[i] = byte(r.Uint32())
		}
		f.Add(version, deeds)
	}
	f.Fuzz(func(t *testing.T, version byte, deeds []byte) {
		w := newWorld(t, roomversion.All()[int(version)%len(roomversion.All())])
		w.start()
		r := rand.New(&chosen{deeds: deeds})
		w.spoil = true
		w.grow(r, min(2+len(deeds)/12, 60))
		for range 40 {
			compareOnce(t, r, w)
		}
		for i := 1; i < len(w.order); i += 3 {
			c := &counting{citing: w.withCitations()}
			if _, err := Resolve(w.rules, w.states([]id.EventID{w.order[i], w.order[len(w.order)-1]}), c); err != nil || c.events > 2*len(w.order) {
				t.Fatalf("%d events are asked for, of %d: %v", c.events, len(w.order), err)
			}
		}
	})
}

// chosen are numbers that the input chooses, a byte each, and when it has ended others.
type chosen struct {
	deeds []byte
	after rand.PCG
}

func (c *chosen) Uint64() uint64 {
	if len(c.deeds) == 0 {
		return c.after.Uint64()
	}
	next := c.deeds[0]
	c.deeds = c.deeds[1:]
	return uint64(next) * 0x0101010101010101
}

// spoiled are contents that say nothing, or something else than they should.
var spoiled = []map[string]any{
	{},
	{"membership": 7, "join_rule": []string{"public"}, "users": "nobody"},
	{"membership": "joined", "join_rule": "open", "users": map[string]any{"@bob:b": "100", "@carol:c": nil, "nobody": 50}},
	{"users": map[string]any{"@bob:b": 1<<53 - 1, "@alice:a": -(1<<53 - 1)}, "events": []int{}, "state_default": map[string]any{}},
	{"users_default": " 100 ", "events_default": "50", "ban": true, "kick": nil, "invite": -1},
	{"membership": "join", "join_authorised_via_users_server": "@alice:a", "third_party_invite": "none"},
	{"join_rule": "restricted", "allow": map[string]any{}, "membership": "knock"},
	{"Users": map[string]any{"@bob:b": 100}, "Membership": "join", "additional_creators": "@bob:b"},
}

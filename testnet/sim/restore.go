package sim

import (
	"maps"

	"hanse/federation/id"
	"hanse/federation/room"
)

// backup is what a server has of one moment, to be restored after its disk is lost: the outbox of then included.
type backup struct {
	store          *store
	acked, dropped map[id.EventID]bool
	leave          id.EventID
}

func (s *server) backup() *backup {
	return &backup{s.store.clone(), maps.Clone(s.acked), maps.Clone(s.dropped), s.leave}
}

// lose has a server lose its disk: it goes on with an old backup, or with nothing at all under the same name. What it said since is known to
// others, if it was sent, and it forks the room where it stood then. Not so a server that left the room since, or of whose leave somebody hasn't
// heard: by what it has then it is in the room, or comes back without knowing that it was out, and nobody tells it.
func (n *network) lose(s *server) error {
	if s.saved == nil {
		s.saved = s.backup()
		return nil
	}
	b := s.saved
	s.saved = nil
	if s == n.servers[0] || b.leave != s.leave {
		return nil
	}
	if n.rand.IntN(3) == 0 {
		for _, other := range n.servers {
			if other != s && other.resident() && (other.lacks(s.leave) || other.membership(s.steward()) != "join") {
				return nil
			}
		}
		b = &backup{store: newStore(n.rules), acked: make(map[id.EventID]bool), dropped: make(map[id.EventID]bool)}
	}
	n.trace("%s loses what it stored, but for %d of %d events", s.name, len(b.store.order), len(s.store.order))
	n.report.Restores++
	s.store, s.acked, s.dropped, s.leave, s.m = b.store, b.acked, b.dropped, b.leave, nil
	if s.store.roomID == "" {
		return nil
	}
	n.told.restarts(s)
	s.m = room.Load(s.name, s.store.snapshot())
	if len(s.store.staged) == 0 {
		return nil
	}
	_, _, err := s.step(room.Resume{})
	return err
}

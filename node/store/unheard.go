package store

import (
	"context"
	"hash/maphash"
	"sync/atomic"

	"hanse/federation/id"
)

// unheard remembers IDs of events that nothing in the database names: no event, no gap, no redaction. Each event that
// another server sends is looked for by its room's machine, by who applies redactions and by the commit, and is nearly
// always new: one question for all events of a transaction, whatever their rooms, then stands for all of these.
type unheard struct {
	tail  *tail
	ids   *generations[id.EventID, struct{}]
	named *keyFilter      // of the IDs that are in the tables
	seeds [2]maphash.Seed // immutable; other servers choose the IDs
	// version counts the writes that name events by another way than the tail. What a reader didn't find is kept only if
	// none came meanwhile.
	version atomic.Int64
}

func newUnheard(s *Store) *unheard {
	u := &unheard{tail: s.tail, ids: newGenerations[id.EventID, struct{}](unheardIDs, nil)}
	u.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	u.named = newKeyFilter(s, func(key any) twoHashes {
		e, _ := key.(string)
		return u.hashes(id.EventID(e))
	}, func(context.Context) ([]keyColumn, error) {
		return []keyColumn{
			{table: "event_ids", column: "event_id", before: ""}, {table: "gaps", column: "missing", before: ""},
			{table: "redactions", column: "target", before: ""},
		}, nil
	})
	return u
}

func (u *unheard) hashes(e id.EventID) twoHashes {
	return twoHashes{maphash.String(u.seeds[0], string(e)), maphash.String(u.seeds[1], string(e)) | 1}
}

// has tells whether nothing names an event.
func (u *unheard) has(e id.EventID) bool {
	_, ok := u.ids.get(e)
	return ok
}

// mayBeNamed tells whether something in the tables may name an event, which is looked for in the tail first: what leaves the tail is in the
// tables, and known to be, before.
func (u *unheard) mayBeNamed(e id.EventID) bool { return !u.has(e) && u.named.mayHave(u.hashes(e)) }

// heard leaves out of ids those that nothing names.
func (u *unheard) heard(ids []id.EventID) []id.EventID {
	heard := make([]id.EventID, 0, len(ids))
	for _, e := range ids {
		if !u.has(e) {
			heard = append(heard, e)
		}
	}
	return heard
}

// hear notes that a transaction names events by another way than the tail.
func (u *unheard) hear(t *writeTx, ids ...id.EventID) {
	t.then(func() {
		u.written(ids)
		u.version.Add(1)
		for _, e := range ids {
			u.ids.drop(e)
		}
	})
}

// written notes IDs that the tables have got.
func (u *unheard) written(ids []id.EventID) {
	for _, e := range ids {
		u.named.add(u.hashes(e))
	}
}

// keep remembers IDs that were not found since the version and the tail's beginning were as given.
func (u *unheard) keep(ids []id.EventID, version int64, indexed Position) {
	u.ids.mu.Lock()
	defer u.ids.mu.Unlock()
	if u.version.Load() != version || u.tail.upto() != indexed {
		return
	}
	for _, e := range ids {
		if _, came := u.tail.number(e); !came {
			u.ids.add(e, struct{}{})
		}
	}
}

// Expect looks for events that are about to be handed to their rooms, all at once, so that what follows needs not ask the
// database for each. Mostly it isn't asked for any: nearly all are new, which the filter tells.
func (s *Store) Expect(ctx context.Context, ids []id.EventID) error {
	version, indexed := s.unheard.version.Load(), s.tail.upto()
	var wanted, unnamed []id.EventID
	for _, e := range ids {
		if _, stored := s.tail.number(e); stored || s.unheard.has(e) {
			continue
		}
		if s.unheard.named.mayHave(s.unheard.hashes(e)) {
			wanted = append(wanted, e)
		} else {
			unnamed = append(unnamed, e)
		}
	}
	named, err := mapOf[id.EventID, bool](ctx, s, `SELECT event_id, 1 FROM event_ids WHERE event_id IN (%[1]s)
		UNION ALL SELECT missing, 1 FROM gaps WHERE missing IN (%[1]s)
		UNION ALL SELECT target, 1 FROM redactions WHERE target IN (%[1]s)`, nil, wanted)
	if err != nil {
		return err
	}
	for _, e := range wanted {
		if !named[e] {
			unnamed = append(unnamed, e)
		}
	}
	s.unheard.keep(unnamed, version, indexed)
	return nil
}

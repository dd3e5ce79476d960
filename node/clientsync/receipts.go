package clientsync

import (
	"cmp"
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/store"
)

// receiptList is the newest receipts of a room, as the table has them: read once for all who are told of them. Guarded by the
// room's mu.
type receiptList struct {
	after, upto store.Position  // they are all that came in (after, upto]; upto 0: nothing is known
	all         []store.Receipt // in order
}

// receipts are a room's that came in (after, upto], everybody's and private ones too, in order of position.
func (s *Syncer) receipts(ctx context.Context, room id.RoomID, after, upto store.Position) ([]store.Receipt, error) {
	if after >= upto || !s.stream.RoomSince(room, after).Receipts {
		return nil, nil
	}
	if after > 0 { // 0: of a client that begins
		if found, known, err := s.recentReceipts(ctx, room, after, upto); known || err != nil {
			return found, err
		}
	}
	return s.store.Receipts(ctx, room, after, upto)
}

// recentReceipts are the same out of memory, where they are known.
func (s *Syncer) recentReceipts(ctx context.Context, room id.RoomID, after, upto store.Position) (found []store.Receipt, known bool, err error) {
	r := s.recentRoom(room)
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &r.receipts
	if l.upto == 0 {
		l.after, l.upto = after, after
	}
	if after < l.after {
		return nil, false, nil
	}
	if upto > l.upto && s.stream.RoomSince(room, l.upto).Receipts {
		newer, err := s.store.Receipts(ctx, room, l.upto, upto)
		if err != nil {
			return nil, false, err
		}
		l.add(newer)
	}
	l.upto = max(l.upto, upto)
	if after < l.after { // they are too many
		return nil, false, nil
	}
	place := func(r store.Receipt, p store.Position) int { return cmp.Compare(r.Position, p) }
	i, _ := slices.BinarySearchFunc(l.all, after+1, place)
	j, _ := slices.BinarySearchFunc(l.all, upto+1, place)
	return slices.Clone(l.all[i:max(i, j)]), true, nil
}

// add takes in newer ones, which take the place of those that they follow on, as in the table.
func (l *receiptList) add(newer []store.Receipt) {
	type name struct {
		user        id.UserID
		typ, thread string
	}
	of := func(r store.Receipt) name { return name{r.User, r.Type, r.Thread} }
	replaced := map[name]bool{}
	for _, r := range newer {
		replaced[of(r)] = true
	}
	l.all = append(slices.DeleteFunc(l.all, func(r store.Receipt) bool { return replaced[of(r)] }), newer...)
	if drop := len(l.all) - maxReceipts; drop > 0 {
		l.after = l.all[drop-1].Position
		l.all = slices.Clone(l.all[drop:])
	}
}

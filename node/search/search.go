// Package search finds what was said in a user's rooms by its words. Its index is written behind the commits, from a place
// that is kept with it, so that sending waits for nothing and a crash loses nothing; a search waits until the index has
// what was sent before.
//
// A word of an event is what stands between blanks and punctuation, in lower case; there are no stems of words, as a server
// doesn't know the language. What was redacted since, and what the user may not see, is left out of what was found.
package search

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"

	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/words"
)

// Search finds events. Make one with New and let Run run. Safe for concurrent use.
type Search struct {
	self  id.ServerName
	store *store.Store
	rooms *rooms.Rooms
	log   *slog.Logger
	kick  chan struct{} // one ahead: somebody waits for the index

	mu      sync.Mutex
	upto    store.Position // guarded by mu: all events up to here are in the index
	waiting int            // guarded by mu: how many wait for the index
	changed chan struct{}  // guarded by mu: closed when upto grows
}

// New makes the Search of a server; log may be nil.
func New(self id.ServerName, s *store.Store, r *rooms.Rooms, log *slog.Logger) *Search {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Search{self: self, store: s, rooms: r, log: log.With("part", "search"), kick: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Query is what is searched for.
type Query struct {
	User id.UserID
	Term string
	// Keys are the keys of content to look in; nil: all.
	Keys []string
	// Rooms are the rooms to look in; nil: all that the user is in, or was and has not forgotten.
	Rooms []id.RoomID
	// Match chooses events; nil: all.
	Match func(store.EventRow) bool
	// Recent asks for the newest first, else the most relevant come first.
	Recent bool
	// From is where the answer begins: Next of the one before, or the zero value.
	From  Place
	Limit int
}

// Place is a place among the results of a query.
type Place struct {
	Upto store.Position // events that came later are not looked for
	Skip int            // so many of the results are left out
}

// Hit is an event that was found.
type Hit struct {
	store.EventRow
	Rank float64 // the share of the words searched for among those of the event
}

// Results are a page of what was found.
type Results struct {
	Hits  []Hit
	Count int            // about how many there are in all
	Words []string       // what was searched for
	Upto  store.Position // what came later was not looked for
	Next  *Place         // where the next page begins; nil: nowhere
}

// Find searches.
//
// spec:client-server-api#server-side-search
func (s *Search) Find(ctx context.Context, q Query) (Results, error) {
	results := Results{Words: words.Distinct(words.Split(q.Term), maxTermWords)}
	if len(results.Words) == 0 {
		return results, nil
	}
	if q.From.Upto == 0 {
		q.From.Upto = s.store.Position()
		s.await(ctx, q.From.Upto)
	}
	within, err := s.within(ctx, q)
	if err != nil {
		return results, err
	}
	terms := slices.Clone(results.Words)
	slices.SortStableFunc(terms, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // long words are rare
	finder := finder{Search: s, query: q, terms: terms, encrypted: map[id.RoomID]bool{}}
	hits, rest, err := finder.hits(ctx, within)
	if err != nil {
		return results, err
	}
	if !q.Recent {
		slices.Reverse(hits) // of what is as relevant the oldest comes first, as with other servers
		slices.SortStableFunc(hits, func(a, b Hit) int { return cmp.Compare(b.Rank, a.Rank) })
	}
	results.Count, results.Upto = len(hits), q.From.Upto
	from := min(q.From.Skip, len(hits))
	upto := min(from+max(q.Limit, 1), len(hits))
	results.Hits = hits[from:upto]
	switch {
	case q.Recent && rest != nil && upto == len(hits):
		results.Next = rest
	case len(results.Hits) == max(q.Limit, 1): // the next page may be empty: clients expect one after each that is full
		results.Next = &Place{Upto: q.From.Upto, Skip: upto}
	}
	return results, nil
}

// within are the rooms that the user may search.
func (s *Search) within(ctx context.Context, q Query) ([]id.RoomID, error) {
	memberships, err := s.store.Memberships(ctx, q.User)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(memberships, func(a, b store.Membership) int { return cmp.Compare(b.Position, a.Position) })
	var within []id.RoomID
	for _, m := range memberships {
		member := m.Membership == "join" || m.Membership == "leave" || m.Membership == "ban"
		if member && !m.OutOfRoom && !m.Forgotten && (q.Rooms == nil || slices.Contains(q.Rooms, m.RoomID)) && len(within) < maxRooms {
			within = append(within, m.RoomID)
		}
	}
	return within, nil
}

// finder is one search.
type finder struct {
	*Search
	query     Query
	terms     []string
	encrypted map[id.RoomID]bool // of the rooms met so far
}

// hits are what was found, the newest first: enough for the page, or all that is looked through. rest is where the search
// was left, if it was.
func (f *finder) hits(ctx context.Context, within []id.RoomID) (hits []Hit, rest *Place, err error) {
	enough := math.MaxInt
	if f.query.Recent {
		enough = f.query.From.Skip + max(f.query.Limit, 1) + 1
	}
	upto := f.query.From.Upto
	for scanned, bytes := 0, 0; scanned < maxScan && bytes < maxBytes; {
		found, err := f.store.FindWords(ctx, within, f.terms, upto, maxCandidates)
		if err != nil {
			return nil, nil, err
		}
		kept, err := f.keep(ctx, found)
		if err != nil {
			return nil, nil, err
		}
		if hits = append(hits, kept...); len(found) < maxCandidates || len(hits) >= enough {
			return hits, nil, nil
		}
		scanned += len(found)
		for _, row := range found {
			bytes += row.Event.Size()
		}
		upto = found[len(found)-1].Place - 1
	}
	return hits, &Place{Upto: upto}, nil
}

// keep leaves of what was found what is still said, what the query asks for, and what the user may see.
func (f *finder) keep(ctx context.Context, found []store.Found) ([]Hit, error) {
	ranks := map[id.EventID]float64{}
	byRoom := map[id.RoomID][]store.EventRow{}
	for _, row := range found {
		rank := f.rank(row.EventRow)
		if rank == 0 || f.query.Match != nil && !f.query.Match(row.EventRow) {
			continue
		}
		ranks[row.Event.ID()] = rank
		byRoom[row.RoomID] = append(byRoom[row.RoomID], row.EventRow)
	}
	visible := map[id.EventID]bool{}
	for room, rows := range byRoom {
		if encrypted, err := f.isEncrypted(ctx, room); err != nil || encrypted {
			if err != nil {
				return nil, err
			}
			continue
		}
		seen, err := f.rooms.Visible(ctx, f.query.User, room, rows)
		if err != nil {
			return nil, err
		}
		for _, row := range seen {
			visible[row.Event.ID()] = true
		}
	}
	var hits []Hit
	for _, row := range found {
		if visible[row.Event.ID()] {
			hits = append(hits, Hit{row.EventRow, ranks[row.Event.ID()]})
		}
	}
	return hits, nil
}

// rank is how much of an event's text are the words; 0 if one is missing, or stands under a key that isn't asked for.
func (f *finder) rank(row store.EventRow) float64 {
	key, text := textOf(row.Event)
	if f.query.Keys != nil && !slices.Contains(f.query.Keys, key) {
		return 0
	}
	all := words.Split(text)
	counts := map[string]int{}
	for _, word := range all {
		counts[word]++
	}
	hits := 0
	for _, word := range f.terms {
		if counts[word] == 0 {
			return 0
		}
		hits += counts[word]
	}
	return float64(hits) / float64(len(all))
}

// isEncrypted tells whether a room is end-to-end encrypted: it is not searched then, not even what was said before.
func (f *finder) isEncrypted(ctx context.Context, room id.RoomID) (bool, error) {
	encrypted, known := f.encrypted[room]
	if known {
		return encrypted, nil
	}
	state, err := f.store.CurrentState(ctx, room)
	if err != nil {
		return false, err
	}
	encryption, err := state.Event("m.room.encryption", "")
	if err != nil {
		return false, err
	}
	encrypted = encryption != ""
	f.encrypted[room] = encrypted
	return encrypted, nil
}

package sim

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	database "hanse/node/store"
	"hanse/node/store/sqlite"
)

// The store of the simulation answers as the database of a node does: otherwise machines are tested by a lie.
func TestStoreIsAsADatabase(t *testing.T) {
	for _, v := range []roomversion.Version{roomversion.V1, roomversion.V6, roomversion.V10, roomversion.V12} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("version %s, seed %d", v, seed), func(t *testing.T) {
				db, err := database.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")), database.Options{ServerName: "s1"})
				if err != nil {
					t.Fatal(err)
				}
				running, stop := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- db.Run(running) }()
				defer func() {
					stop()
					<-ended
					_ = db.Close()
				}()
				commits := 0
				_, err = Run(Config{
					Seed: seed, Version: v, Shape: Long, Servers: 3, Actions: 30,
					Faults: Faults{Lost: 20, Crash: 6, Partition: 10, Forget: 20, Forge: 20, Fetch: 15, Lie: 70, Partial: 80, Leave: 10},
					stored: func(s *server, c room.Commit) error {
						if s.name != "s1" || c.RoomID == "" {
							return nil
						}
						commits++
						if _, err := db.Commit(t.Context(), c, database.CommitOptions{}); err != nil {
							return err
						}
						return s.store.isAs(t.Context(), db)
					},
				})
				if err != nil || commits < 10 {
					t.Errorf("after %d commits: %v", commits, err)
				}
			})
		}
	}
}

// isAs compares what the store and a database tell of all events that are known or named.
func (s *store) isAs(ctx context.Context, db *database.Store) error {
	source := db.Source(ctx, s.rules)
	var ids []id.EventID
	for e, c := range s.events {
		ids = append(append(ids, e), c.Event.PrevEvents()...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	mine, _ := s.Events(ids)
	theirs, err := source.Events(ids)
	if err != nil {
		return err
	}
	var unplaced []id.EventID
	for _, e := range ids {
		if a, b := told(mine[e]), told(theirs[e]); a != b {
			return fmt.Errorf("%s: %s, in the database %s", e, a, b)
		}
		after, has, _ := s.StateAfter(e)
		stored, is, err := source.StateAfter(e)
		if err != nil {
			return err
		}
		if has != is || has && after.Hash() != stored.Hash() {
			return fmt.Errorf("the state after %s: there %v, in the database %v, or another one", e, has, is)
		}
		if !has {
			unplaced = append(unplaced, e)
		}
	}
	above, _ := s.Referenced(unplaced)
	stored, err := source.Referenced(unplaced)
	if err != nil {
		return err
	}
	if !maps.Equal(above, stored) {
		return fmt.Errorf("below accepted events are %v, in the database %v", above, stored)
	}
	now, there, err := db.LoadRoom(ctx, s.roomID)
	if err != nil {
		return err
	}
	if a, b := snapshotText(s.snapshot()), snapshotText(now); there && a != b {
		return fmt.Errorf("the room is %s\nin the database %s", a, b)
	}
	return nil
}

// told is what a source tells of an event.
func told(e room.Stored) string {
	if e.Event == nil {
		return "unknown"
	}
	return fmt.Sprint(e.Status, e.Outlier, e.Deep, e.Given && e.Status != room.Accepted, e.Event.ContentHashMatches())
}

func snapshotText(s room.Snapshot) string {
	hash := func(state roomstate.Map) string {
		sum := state.Hash()
		return fmt.Sprintf("%x", sum[:4])
	}
	var staged []id.EventID
	for _, e := range s.Staged {
		staged = append(staged, e.ID())
	}
	text := fmt.Sprintf("%v, depth %d, state %s, staged %v, servers %v, resident %v", s.Forward, s.Depth, hash(s.Current), staged, s.Servers, s.Resident)
	if p := s.Partial; p != nil {
		text += fmt.Sprintf(", partial since %s, of %v:", p.Join, p.Servers)
		for _, u := range p.Unsure {
			before := ""
			if u.Given {
				before = hash(u.Before)
			}
			text += fmt.Sprintf(" %s %v %v %v %s %v", u.Event, u.Backfilled, u.Below, u.Given, before, u.LeftOut)
		}
	}
	return text
}

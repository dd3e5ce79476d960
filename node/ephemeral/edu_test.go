package ephemeral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// An EDU of very many rooms costs a bounded number of looks at them, also where it has no receipts.
func TestRoomsOfAReceiptEDUAreBounded(t *testing.T) {
	asked := 0
	e := &Ephemeral{config: Config{Allowed: func(context.Context, id.RoomID, id.ServerName) (bool, error) {
		asked++
		return false, nil
	}}}
	edu := map[string]any{}
	for i := range 2 * maxReceiptsInEDU {
		edu[fmt.Sprintf("!%d:far.test", i)] = map[string]any{}
	}
	content, err := json.Marshal(edu)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.HandleEDU(t.Context(), "far.test", federation.EDU{Type: federation.EDUReceipt, Content: content}); err != nil {
		t.Fatal(err)
	}
	if asked == 0 || asked > maxReceiptsInEDU {
		t.Errorf("%d rooms were looked at", asked)
	}
}

// Receipts of a server for rooms that it isn't in aren't kept until it is seen of each user that they are in none: that cost ten times as much.
func TestReceiptsOfAServerInNoRoomAreNotKept(t *testing.T) {
	s, err := store.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")), store.Options{ServerName: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // nothing was written
	e, err := New(Config{Self: "example.org", Store: s})
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(`{"!a:far.test":{"m.read":{"@zoe:far.test":{"data":{"ts":1},"event_ids":["$a"]}}}}`)
	if err := e.HandleEDU(t.Context(), "far.test", federation.EDU{Type: federation.EDUReceipt, Content: content}); err != nil {
		t.Fatal(err)
	}
	if kept := e.incoming.take(); len(kept) > 0 {
		t.Errorf("kept: %v", kept)
	}
}

// FuzzReceiptEDU reads what other servers say of receipts, up to where the store would be asked.
func FuzzReceiptEDU(f *testing.F) {
	f.Add([]byte(`{"!a:far.test":{"m.read":{"@zoe:far.test":{"data":{"ts":1533358089009},"event_ids":["$read_this_event:far.test"]}}}}`))
	f.Add([]byte(`{"":{"m.read":null}}`))
	end := errors.New("the end of what is tested")
	f.Fuzz(func(t *testing.T, content []byte) {
		asked := 0
		e := &Ephemeral{config: Config{Self: "example.org", Allowed: func(_ context.Context, room id.RoomID, _ id.ServerName) (bool, error) {
			if asked++; asked > maxReceiptsInEDU {
				t.Error("too many rooms are looked at")
			}
			if _, err := id.ParseRoomID(string(room)); err != nil {
				t.Error(err)
			}
			return false, end
		}}}
		if err := e.HandleEDU(t.Context(), "far.test", federation.EDU{Type: federation.EDUReceipt, Content: content}); err != nil && !errors.Is(err, end) {
			t.Errorf("what another server says is no trouble of ours: %v", err)
		}
	})
}

// FuzzTypingEDU reads what other servers say of who types, up to where the store would be asked.
func FuzzTypingEDU(f *testing.F) {
	f.Add([]byte(`{"room_id":"!a:far.test","user_id":"@zoe:far.test","typing":true}`))
	f.Add([]byte(`{"room_id":"!a:far.test","user_id":"@zoe:example.org","typing":false}`))
	f.Add([]byte(`{"room_id":[],"user_id":null,"typing":1e400}`))
	end := errors.New("the end of what is tested")
	f.Fuzz(func(t *testing.T, content []byte) {
		e := &Ephemeral{config: Config{Self: "example.org", Allowed: func(_ context.Context, room id.RoomID, server id.ServerName) (bool, error) {
			if _, err := id.ParseRoomID(string(room)); err != nil || server != "far.test" {
				t.Errorf("%q is asked about %q: %v", server, room, err)
			}
			var edu federation.TypingEDU
			if err := json.Unmarshal(content, &edu); err != nil || id.UserID(edu.UserID).Server() != "far.test" {
				t.Errorf("%s is not of the server that spoke (%v)", edu.UserID, err)
			}
			return false, end
		}}}
		if err := e.HandleEDU(t.Context(), "far.test", federation.EDU{Type: federation.EDUTyping, Content: content}); err != nil && !errors.Is(err, end) {
			t.Errorf("what another server says is no trouble of ours: %v", err)
		}
	})
}

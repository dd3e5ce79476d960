package ephemeral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"hanse/federation"
	"hanse/federation/id"
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

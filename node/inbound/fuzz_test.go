package inbound

import (
	"encoding/json"
	"log/slog"
	"testing"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// FuzzTransaction reads transactions of a hostile server, up to where the keys would be looked up. The second byte string
// is a PDU beside them, so that the events within are found sooner.
func FuzzTransaction(f *testing.F) {
	pdu := []byte(`{"auth_events":["$a","$b"],"content":{"body":"hello"},"depth":7,"hashes":{"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"},"origin_server_ts":1,"prev_events":["$c"],"room_id":"!a:far.test","sender":"@zoe:far.test","signatures":{"far.test":{"ed25519:1":"x"}},"type":"m.room.message"}`)
	f.Add([]byte(`{"origin":"far.test","origin_server_ts":1,"pdus":[{}],"edus":[{"edu_type":"m.typing","content":{}}]}`), pdu, byte(10))
	f.Add([]byte(`{"pdus":[7,null,[]],"edus":[7,{"edu_type":7}]}`), []byte(`{"room_id":7}`), byte(0))
	f.Add([]byte(`{"pdus":"x"}`), []byte(`{"event_id":"$x:y","room_id":"!a:far.test"}`), byte(1))
	f.Fuzz(func(t *testing.T, body, pdu []byte, version byte) {
		var txn federation.Transaction
		if canonical, err := canonicaljson.Append(nil, body, canonicaljson.Lenient); err == nil {
			if txn, err = federation.DecodeTransaction(canonical); err != nil {
				txn = federation.Transaction{}
			}
		}
		if len(txn.PDUs) > federation.MaxTransactionPDUs || len(txn.EDUs) > federation.MaxTransactionEDUs {
			t.Fatalf("%d PDUs, %d EDUs", len(txn.PDUs), len(txn.EDUs))
		}
		if json.Valid(pdu) {
			txn.PDUs = append(txn.PDUs, pdu)
		}
		rules := roomversion.All()[int(version)%len(roomversion.All())]
		d := &delivery{in: &Inbound{log: slog.New(slog.DiscardHandler)}, origin: "far.test", results: federation.PDUResults{}, rooms: map[id.RoomID]*place{}}
		for _, raw := range txn.PDUs { // every room is one of ours
			var head struct {
				RoomID string `json:"room_id"`
			}
			_ = json.Unmarshal(raw, &head)
			if room, err := id.ParseRoomID(head.RoomID); err == nil {
				d.rooms[room] = &place{room: room, rules: rules, resident: true}
			}
		}
		if err := d.parse(t.Context(), txn.PDUs); err != nil {
			t.Fatal(err)
		}
		for room, p := range d.rooms {
			for _, e := range p.events {
				if e.RoomID() != room || e.ID() == "" {
					t.Fatalf("%s of %s is among the events of %s", e.ID(), e.RoomID(), room)
				}
			}
		}
		if _, err := json.Marshal(federation.SendResponse{PDUs: d.results}); err != nil {
			t.Fatal(err)
		}
	})
}

package federation

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzSendJoin reads answers to send_join in both forms; what is read is the same when it is written and read again.
func FuzzSendJoin(f *testing.F) {
	f.Add([]byte(`{"auth_chain":[{"type":"m.room.create"}],"event":{},"members_omitted":true,"origin":"a.test","servers_in_room":["a.test"],"state":[{"type":"m.room.create"}]}`), false)
	f.Add([]byte(`[200,{"auth_chain":[],"state":[{}]}]`), true)
	f.Add([]byte(`{"state":null,"auth_chain":[[[[]]]]}`), false)
	f.Add([]byte(`[200,{"state":[`), true)
	f.Fuzz(func(t *testing.T, text []byte, old bool) {
		answer, err := DecodeSendJoin(bytes.NewReader(text), old)
		if err != nil {
			return
		}
		if len(answer.State) > MaxListPDUs || len(answer.AuthChain) > MaxListPDUs || len(answer.ServersInRoom) > MaxListPDUs {
			t.Fatal("more than is allowed")
		}
		var written bytes.Buffer
		if err := answer.EncodeJSON(&written); err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSendJoin(bytes.NewReader(written.Bytes()), false)
		if err != nil {
			t.Fatalf("%s: %v", written.Bytes(), err)
		}
		if len(again.State) != len(answer.State) || len(again.AuthChain) != len(answer.AuthChain) ||
			again.MembersOmitted != answer.MembersOmitted || !reflect.DeepEqual(again.ServersInRoom, answer.ServersInRoom) {
			t.Fatalf("%s was read otherwise", written.Bytes())
		}
	})
}

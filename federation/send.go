package federation

import (
	"encoding/json"
	"errors"
	"strconv"

	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Transaction is the body of PUT /send/{txnId}, and the answer of /event and /backfill.
//
// spec:server-server-api#transactions
type Transaction struct {
	Origin         id.ServerName     // as the body says: nobody has proved it, the request's X-Matrix origin counts
	OriginServerTS int64             // when it started, in milliseconds since 1970
	PDUs           []json.RawMessage // events; their format depends on their room's version
	EDUs           []EDU
}

// UnmarshalJSON reads a transaction as in PUT /send: at most MaxTransactionPDUs and MaxTransactionEDUs. A missing or
// null list is empty, and a timestamp of the wrong kind is 0: nothing depends on it.
func (t *Transaction) UnmarshalJSON(data []byte) error {
	return t.decode(data, MaxTransactionPDUs, MaxTransactionEDUs)
}

func (t *Transaction) decode(data []byte, pdus, edus int) error {
	var wire struct {
		Origin         json.RawMessage `json:"origin"`
		OriginServerTS json.RawMessage `json:"origin_server_ts"`
		PDUs           json.RawMessage `json:"pdus"`
		EDUs           json.RawMessage `json:"edus"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	var out Transaction
	var origin string
	if exactjson.Unmarshal(wire.Origin, &origin) == nil {
		if name, err := id.ParseServerName(origin); err == nil {
			out.Origin = name
		}
	}
	if ts, err := strconv.ParseInt(string(wire.OriginServerTS), 10, 64); err == nil {
		out.OriginServerTS = ts
	}
	var err error
	if out.PDUs, err = splitList(wire.PDUs, pdus, "pdus"); err != nil {
		return err
	}
	list, err := splitList(wire.EDUs, edus, "edus")
	if err != nil {
		return err
	}
	for _, raw := range list {
		var edu EDU
		if exactjson.Unmarshal(raw, &edu) == nil && edu.Type != "" {
			out.EDUs = append(out.EDUs, edu) // one that can't be read is dropped: the events beside it still count
		}
	}
	*t = out
	return nil
}

// DecodeTransaction reads the body of PUT /send like UnmarshalJSON, from canonical JSON. It copies nothing: the events
// are parts of canonical.
func DecodeTransaction(canonical []byte) (Transaction, error) {
	var t Transaction
	walk := canonicaljson.Walk(canonical)
	for key, value, ok := walk.Next(); ok; key, value, ok = walk.Next() {
		var err error
		switch string(key) {
		case "origin":
			text, _ := canonicaljson.String(value)
			t.Origin, _ = id.ParseServerName(text) // nobody has proved it anyway
		case "origin_server_ts":
			t.OriginServerTS, _ = canonicaljson.Int(value)
		case "pdus":
			t.PDUs, err = elements(value, MaxTransactionPDUs, "pdus")
		case "edus":
			var list []json.RawMessage
			list, err = elements(value, MaxTransactionEDUs, "edus")
			for _, raw := range list {
				if edu, ok := decodeEDU(raw); ok {
					t.EDUs = append(t.EDUs, edu)
				}
			}
		}
		if err != nil {
			return Transaction{}, err
		}
	}
	return t, nil
}

func decodeEDU(canonical []byte) (EDU, bool) {
	kind, _ := canonicaljson.Get(canonical, "edu_type")
	content, _ := canonicaljson.Get(canonical, "content")
	name, ok := canonicaljson.String(kind)
	return EDU{Type: name, Content: content}, ok && name != ""
}

// AppendJSON appends the transaction's JSON, canonical if its events and EDUs are.
func (t Transaction) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	if len(t.EDUs) > 0 {
		dst = append(dst, `"edus":[`...)
		for i, edu := range t.EDUs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = edu.appendJSON(dst)
		}
		dst = append(dst, `],`...)
	}
	dst = append(dst, `"origin":`...)
	dst = appendString(dst, string(t.Origin))
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, t.OriginServerTS, 10)
	dst = append(dst, `,"pdus":`...)
	dst = appendList(dst, t.PDUs)
	return append(dst, '}')
}

// MarshalJSON is AppendJSON for encoding/json.
func (t Transaction) MarshalJSON() ([]byte, error) {
	return t.AppendJSON(make([]byte, 0, size(t.PDUs)+256)), nil
}

// EDU is something that is sent, but not part of any room's history: typing, receipts, device messages.
//
// spec:server-server-api#edus
type EDU struct {
	Type    string          `json:"edu_type"`
	Content json.RawMessage `json:"content"`
}

func (e EDU) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"content":`...)
	if len(e.Content) == 0 {
		dst = append(dst, "{}"...)
	}
	dst = append(dst, e.Content...)
	dst = append(dst, `,"edu_type":`...)
	dst = appendString(dst, e.Type)
	return append(dst, '}')
}

// PDUResults says, by event ID, what became of a transaction's events.
type PDUResults map[id.EventID]PDUResult

// PDUResult is what became of one event. An empty Error means that it was handled. Code goes with the error where one
// says more, as from Synapse; the specification has the text alone.
type PDUResult struct {
	Code  string `json:"errcode,omitempty"`
	Error string `json:"error,omitempty"`
}

// SendResponse is the answer of PUT /send/{txnId}.
type SendResponse struct {
	PDUs PDUResults `json:"pdus"`
}

// UnmarshalJSON reads an answer tolerantly: results under a key that is no event ID, and those of a wrong form, are
// left out. At most MaxTransactionPDUs results are kept, their texts cut to MaxErrorText bytes.
func (r *SendResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		PDUs json.RawMessage `json:"pdus"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	var results map[string]struct {
		Code  any `json:"errcode"`
		Error any `json:"error"`
	}
	if len(wire.PDUs) > 0 {
		if err := exactjson.Unmarshal(wire.PDUs, &results); err != nil {
			return errors.New("pdus is not an object of objects")
		}
	}
	r.PDUs = make(PDUResults, min(len(results), MaxTransactionPDUs))
	for text, result := range results {
		event, err := id.ParseEventID(text)
		if err != nil || len(r.PDUs) == MaxTransactionPDUs {
			continue
		}
		code, _ := result.Code.(string)
		message, _ := result.Error.(string)
		r.PDUs[event] = PDUResult{Code: clip(code), Error: clip(message)}
	}
	return nil
}

// MarshalJSON writes "pdus" as an object even when there are none.
func (r SendResponse) MarshalJSON() ([]byte, error) {
	if r.PDUs == nil {
		return []byte(`{"pdus":{}}`), nil
	}
	return json.Marshal(map[string]PDUResults{"pdus": r.PDUs})
}

package federation

import "hanse/federation/id"

// BackfillRequest is what GET /backfill/{roomId} asks: the events V and those before them, at most Limit in all.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
type BackfillRequest struct {
	RoomID id.RoomID
	V      []id.EventID // 1 to MaxEventIDs
	Limit  int          // at least 0; the answering server has its own bound
}

// BackfillResponse is the answer of GET /backfill/{roomId}. Its events may be more than a transaction's, and may have
// more prev and auth events than new events may.
type BackfillResponse struct {
	Transaction
}

// UnmarshalJSON reads an answer with at most MaxListPDUs events.
func (r *BackfillResponse) UnmarshalJSON(data []byte) error {
	return r.decode(data, MaxListPDUs, MaxTransactionEDUs)
}

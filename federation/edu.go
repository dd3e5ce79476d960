package federation

import "hanse/federation/id"

// Types of EDUs. spec:server-server-api#edus
const (
	EDUTyping  = "m.typing"
	EDUReceipt = "m.receipt"

	EDUPresence = "m.presence"

	EDUDeviceListUpdate = "m.device_list_update"
	EDUSigningKeyUpdate = "m.signing_key_update"
	EDUDirectToDevice   = "m.direct_to_device"
)

// PresenceEDU is the content of m.presence: what has changed of users of the sending server. Its identifiers are as the
// peer wrote them: parse before use.
//
// spec:server-server-api#presence
type PresenceEDU struct {
	Push []UserPresence `json:"push"`
}

// UserPresence is what is known of a user's presence.
type UserPresence struct {
	UserID          string  `json:"user_id"`
	Presence        string  `json:"presence"` // online, unavailable or offline
	StatusMsg       *string `json:"status_msg,omitempty"`
	LastActiveAgo   *int64  `json:"last_active_ago,omitempty"` // milliseconds; nil: Synapse doesn't know it
	CurrentlyActive bool    `json:"currently_active,omitempty"`
}

// TypingEDU is the content of m.typing: one user began or stopped typing in a room. Its identifiers are as the peer
// wrote them: parse before use.
//
// spec:server-server-api#typing-notifications
type TypingEDU struct {
	RoomID string `json:"room_id"`
	UserID string `json:"user_id"`
	Typing bool   `json:"typing"`
}

// ReceiptEDU is the content of m.receipt: receipts by room ID, receipt type (m.read) and user ID. The keys are as the
// peer wrote them: parse before use. Receipts that are not listed stay as they were.
//
// spec:server-server-api#receipts
type ReceiptEDU map[string]map[string]map[string]Receipt

// Receipt is how far one user has read.
type Receipt struct {
	EventIDs []id.EventID `json:"event_ids"` // exactly one, says the spec
	Data     ReceiptData  `json:"data"`
}

// ReceiptData is what is known about a receipt.
type ReceiptData struct {
	TS       int64  `json:"ts"`                  // milliseconds since 1970
	ThreadID string `json:"thread_id,omitempty"` // a thread's root event ID or "main"; "" = unthreaded
}

package federation

import (
	"encoding/json"
	"errors"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// MaxBoundInvites bounds the invites in one notice of an identity server: an address is seldom invited to more than a few
// rooms, and each is a handshake with another server.
const MaxBoundInvites = 100

// ThirdPartyInvite is the body of PUT /exchange_third_party_invite/{roomId}: the parts of an invite that the inviting
// user's server makes into an event.
//
// spec:server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
type ThirdPartyInvite struct {
	RoomID      id.RoomID
	Sender      id.UserID // who sent the m.room.third_party_invite event
	Target      id.UserID
	DisplayName string
	Signed      json.RawMessage // an object, signed by the identity server
}

type thirdPartyWire struct {
	Type     string                `json:"type"`
	RoomID   string                `json:"room_id"`
	Sender   string                `json:"sender"`
	StateKey string                `json:"state_key"`
	Content  thirdPartyContentWire `json:"content"`
}

type thirdPartyContentWire struct {
	Membership string `json:"membership"`
	Invite     struct {
		DisplayName string          `json:"display_name"`
		Signed      json.RawMessage `json:"signed"`
	} `json:"third_party_invite"`
}

// MarshalJSON writes the body.
func (t ThirdPartyInvite) MarshalJSON() ([]byte, error) {
	wire := thirdPartyWire{Type: "m.room.member", RoomID: string(t.RoomID), Sender: string(t.Sender), StateKey: string(t.Target)}
	wire.Content.Membership = "invite"
	wire.Content.Invite.DisplayName, wire.Content.Invite.Signed = t.DisplayName, t.Signed
	return json.Marshal(wire)
}

// UnmarshalJSON reads a body. What isn't an invite of a third party is an error.
func (t *ThirdPartyInvite) UnmarshalJSON(data []byte) error {
	var wire thirdPartyWire
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if wire.Type != "m.room.member" || wire.Content.Membership != "invite" {
		return errors.New("it is no invite")
	}
	signed := wire.Content.Invite.Signed
	if len(signed) == 0 || signed[0] != '{' {
		return errors.New("content.third_party_invite.signed is not an object")
	}
	out := ThirdPartyInvite{DisplayName: wire.Content.Invite.DisplayName, Signed: signed}
	return out.identify(t, wire.RoomID, wire.Sender, wire.StateKey)
}

// identify sets the identifiers and hands the invite over.
func (t ThirdPartyInvite) identify(to *ThirdPartyInvite, room, sender, target string) (err error) {
	if t.RoomID, err = id.ParseRoomID(room); err != nil {
		return fmt.Errorf("room_id: %w", err)
	}
	if t.Sender, err = id.ParseUserID(sender); err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	if t.Target, err = id.ParseUserID(target); err != nil {
		return fmt.Errorf("the invited user: %w", err)
	}
	*to = t
	return nil
}

// BoundNotice is the body of PUT /3pid/onbind: an identity server tells that an address now belongs to a user, and to
// which rooms it had been invited. It isn't signed by a server; the invites are, by the identity server.
//
// spec:server-server-api#put_matrixfederationv13pidonbind
type BoundNotice struct {
	User    id.UserID
	Invites []ThirdPartyInvite // for User; others, and what can't be read, are left out
}

// UnmarshalJSON reads a body.
func (n *BoundNotice) UnmarshalJSON(data []byte) error {
	var wire struct {
		MXID    string            `json:"mxid"`
		Invites []json.RawMessage `json:"invites"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	user, err := id.ParseUserID(wire.MXID)
	if err != nil {
		return fmt.Errorf("mxid: %w", err)
	}
	if len(wire.Invites) > MaxBoundInvites {
		return fmt.Errorf("more than %d invites", MaxBoundInvites)
	}
	out := BoundNotice{User: user}
	for _, raw := range wire.Invites {
		var one struct {
			MXID   string          `json:"mxid"`
			RoomID string          `json:"room_id"`
			Sender string          `json:"sender"`
			Signed json.RawMessage `json:"signed"`
		}
		if exactjson.Unmarshal(raw, &one) != nil || one.MXID != wire.MXID || len(one.Signed) == 0 || one.Signed[0] != '{' {
			continue
		}
		var invite ThirdPartyInvite
		if (ThirdPartyInvite{Signed: one.Signed}).identify(&invite, one.RoomID, one.Sender, one.MXID) == nil {
			out.Invites = append(out.Invites, invite)
		}
	}
	*n = out
	return nil
}

package server

import (
	"context"
	"encoding/json"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/keys"
)

// Handlers are what decides about requests, a group for each part of the API. A group that is nil has no endpoints: a
// request for them is answered with 404 M_UNRECOGNIZED.
//
// All methods are called concurrently. origin is the server that signed the request; what else a request says is only
// decoded, not believed: identifiers are valid, but who may do what is for the handler to decide, server ACLs included.
// An error of type *federation.Error is the answer; any other is logged and answered with 500 M_UNKNOWN. Raw events that
// are passed in may be kept, not changed.
type Handlers struct {
	Transactions TransactionHandler
	Joins        JoinHandler
	Leaves       LeaveHandler
	Knocks       KnockHandler
	Invites      InviteHandler
	ThirdParty   ThirdPartyHandler
	Events       EventHandler
	Directory    DirectoryHandler
	Spaces       SpaceHandler
	Profiles     ProfileHandler
	Keys         KeyHandler
	Media        MediaHandler
	OpenID       OpenIDHandler
	Devices      DeviceHandler
}

// TransactionHandler takes transactions.
type TransactionHandler interface {
	// Transaction handles a transaction. The same origin may send the same txnID again: then the same answer is due.
	// What is wrong with one event is a result, not an error. Every event is durable, or refused, when it returns. The
	// events and EDUs are canonical JSON.
	Transaction(ctx context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error)
}

// JoinHandler lets users of other servers join.
type JoinHandler interface {
	MakeJoin(ctx context.Context, origin id.ServerName, q federation.MakeRequest) (federation.MakeJoinResponse, error)
	SendJoin(ctx context.Context, origin id.ServerName, q federation.SendRequest) (federation.SendJoinResponse, error)
}

// LeaveHandler lets users of other servers leave, or reject invites.
type LeaveHandler interface {
	MakeLeave(ctx context.Context, origin id.ServerName, q federation.MakeRequest) (federation.MakeLeaveResponse, error)
	SendLeave(ctx context.Context, origin id.ServerName, q federation.SendRequest) error
}

// KnockHandler lets users of other servers knock.
type KnockHandler interface {
	MakeKnock(ctx context.Context, origin id.ServerName, q federation.MakeRequest) (federation.MakeKnockResponse, error)
	SendKnock(ctx context.Context, origin id.ServerName, q federation.SendRequest) (federation.SendKnockResponse, error)
}

// InviteHandler takes invites for our users.
type InviteHandler interface {
	// Invite answers with the event, signed by us too.
	Invite(ctx context.Context, origin id.ServerName, q federation.InviteRequest) (json.RawMessage, error)
}

// ThirdPartyHandler makes invites of addresses into invites of users.
type ThirdPartyHandler interface {
	// ExchangeThirdPartyInvite makes the invite, for a user of the origin's.
	ExchangeThirdPartyInvite(ctx context.Context, origin id.ServerName, q federation.ThirdPartyInvite) error
	// Bound takes an identity server's notice. Its request is not signed: what it brings proves itself or not.
	Bound(ctx context.Context, q federation.BoundNotice) error
}

// EventHandler hands out events of rooms in which the asking server is.
type EventHandler interface {
	Event(ctx context.Context, origin id.ServerName, event id.EventID) (json.RawMessage, error)
	State(ctx context.Context, origin id.ServerName, q federation.StateRequest) (federation.StateResponse, error)
	StateIDs(ctx context.Context, origin id.ServerName, q federation.StateRequest) (federation.StateIDsResponse, error)
	EventAuth(ctx context.Context, origin id.ServerName, q federation.EventAuthRequest) (federation.EventAuthResponse, error)
	Backfill(ctx context.Context, origin id.ServerName, q federation.BackfillRequest) ([]json.RawMessage, error)
	MissingEvents(ctx context.Context, origin id.ServerName, q federation.MissingEventsRequest) ([]json.RawMessage, error)
	// TimestampToEvent is M_NOT_FOUND where there is no such event.
	TimestampToEvent(ctx context.Context, origin id.ServerName, q federation.TimestampRequest) (federation.TimestampResponse, error)
}

// DirectoryHandler answers about aliases and published rooms.
type DirectoryHandler interface {
	Directory(ctx context.Context, origin id.ServerName, alias id.RoomAlias) (federation.DirectoryResponse, error)
	PublicRooms(ctx context.Context, origin id.ServerName, q federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error)
}

// SpaceHandler answers about rooms of spaces.
type SpaceHandler interface {
	// Hierarchy is M_NOT_FOUND for rooms that we don't know, or that the origin's users can't join.
	Hierarchy(ctx context.Context, origin id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error)
}

// ProfileHandler answers about users' profiles.
type ProfileHandler interface {
	Profile(ctx context.Context, origin id.ServerName, q federation.ProfileRequest) (federation.ProfileResponse, error)
}

// KeyHandler publishes our keys and is a notary for others'. Its requests are not signed.
type KeyHandler interface {
	// ServerKeys is our signed key document.
	ServerKeys(ctx context.Context) (json.RawMessage, error)
	// Answer gives other servers' documents, signed by us too; keys.Ring has it. Servers without known keys are left out.
	Answer(ctx context.Context, q keys.NotaryRequest) ([]json.RawMessage, error)
}

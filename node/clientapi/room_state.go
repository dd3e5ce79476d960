package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/rooms"
)

// stateRoutes are the writing half; reading is beside the other reads of rooms.
func (a *API) stateRoutes() []route {
	return []route{
		{http.MethodPut, "/rooms/{roomId}/state/{eventType}", stable, withUser, sendsEvent, a.sendState},
		{http.MethodPut, "/rooms/{roomId}/state/{eventType}/{$}", stable, withUser, sendsEvent, a.sendState},
		{http.MethodPut, "/rooms/{roomId}/state/{eventType}/{stateKey}", stable, withUser, sendsEvent, a.sendState},
	}
}

// spec:client-server-api#put_matrixclientv3roomsroomidstateeventtypestatekey
func (a *API) sendState(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	content, err := r.content()
	if err != nil {
		return nil, err
	}
	typ, err := r.name("eventType")
	if err != nil {
		return nil, err
	}
	stateKey, err := r.name("stateKey")
	if err != nil {
		return nil, err
	}
	if typ == canonicalAlias && stateKey == "" {
		if err := a.checkAliases(r, room, content); err != nil {
			return nil, err
		}
	}
	ts, err := r.timestamp()
	if err != nil {
		return nil, err
	}
	sent, err := r.send(rooms.SendRequest{Room: room, Sender: r.user, Type: typ, StateKey: &stateKey, Content: content, TS: ts})
	if _, now := sent.(sentEvent); err == nil && now && typ == "m.room.tombstone" && stateKey == "" {
		ctx, cancel := r.detached()
		defer cancel()
		a.inheritByTombstone(ctx, r.user, content)
	}
	return sent, err
}

const canonicalAlias = "m.room.canonical_alias"

// aliasesForm is the content of m.room.canonical_alias.
type aliasesForm struct {
	Alias      *string  `json:"alias"`
	AltAliases []string `json:"alt_aliases"`
}

func (f aliasesForm) all() []string {
	all := slices.Clone(f.AltAliases)
	if f.Alias != nil && *f.Alias != "" {
		all = append(all, *f.Alias)
	}
	return all
}

// checkAliases is nil if all aliases that a new m.room.canonical_alias adds are well-formed and lead to the room.
func (a *API) checkAliases(r *request, room id.RoomID, content json.RawMessage) error {
	var form aliasesForm
	if err := decodeObject(content, &form); err != nil {
		return err
	}
	if len(form.AltAliases) > maxAltAliases {
		return invalidParam("a room has at most %d alternative aliases", maxAltAliases)
	}
	before := a.currentAliases(r.Context(), r.user, room).all()
	for _, text := range form.all() {
		alias, err := id.ParseRoomAlias(text)
		if err != nil {
			return invalidParam("%q is not an alias", text)
		}
		if slices.Contains(before, text) {
			continue // what is there may stay, even if its server doesn't answer
		}
		found, err := a.resolve(r, alias)
		switch {
		case err != nil && !isNotFound(err) && !isRemote(err):
			return err
		case err != nil || found.RoomID != room:
			return badRequest("M_BAD_ALIAS", "the alias %s doesn't lead to this room", alias)
		}
	}
	return nil
}

// currentAliases reads the room's m.room.canonical_alias; empty if there is none or it can't be read.
func (a *API) currentAliases(ctx context.Context, user id.UserID, room id.RoomID) aliasesForm {
	var form aliasesForm
	e, err := a.config.Rooms.StateEvent(ctx, user, room, canonicalAlias, "")
	if err != nil || exactjson.Unmarshal(e.Content(), &form) != nil {
		return aliasesForm{}
	}
	return form
}

// contentText reads a string from an event's content; "" when there is none.
func contentText(e *event.Event, key string) string {
	value, ok := canonicaljson.Get(e.Content(), key)
	if !ok {
		return ""
	}
	text, _ := canonicaljson.String(value)
	return text
}

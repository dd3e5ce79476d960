package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/rooms"
)

// formerlyMSC2432 has the path under which clients listed aliases before that was in the specification, as deployed servers still answer it.
var formerlyMSC2432 = append(stable[:2:2], "/_matrix/client/unstable/org.matrix.msc2432")

func (a *API) directoryRoutes() []route {
	return []route{
		{http.MethodGet, "/directory/room/{roomAlias}", stable, maybeUser, ordinary, a.resolveAlias},
		{http.MethodPut, "/directory/room/{roomAlias}", stable, withUser, ordinary, a.createAlias},
		{http.MethodDelete, "/directory/room/{roomAlias}", stable, withUser, ordinary, a.deleteAlias},
		{http.MethodGet, "/rooms/{roomId}/aliases", formerlyMSC2432, withUser, ordinary, a.roomAliases},
	}
}

func (r *request) roomAlias() (id.RoomAlias, error) {
	alias, err := id.ParseRoomAlias(r.PathValue("roomAlias"))
	if err != nil {
		return "", invalidParam("%q is not an alias", r.PathValue("roomAlias"))
	}
	return alias, nil
}

// spec:client-server-api#get_matrixclientv3directoryroomroomalias
func (a *API) resolveAlias(r *request) (any, error) {
	alias, err := r.roomAlias()
	if err != nil {
		return nil, err
	}
	if alias.Server() != a.config.Self {
		if err := a.limitStranger(r); err != nil {
			return nil, err
		}
	}
	found, err := a.resolve(r, alias)
	return found, err
}

// resolve says where an alias leads. A service isn't asked for an alias while it asks for it itself.
func (a *API) resolve(r *request, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	if r.service != nil && alias.Server() == a.config.Self && r.service.Aliases.Match(string(alias)) {
		return a.config.Directory.Known(r.Context(), alias)
	}
	return a.config.Directory.Resolve(r.Context(), alias)
}

// spec:client-server-api#put_matrixclientv3directoryroomroomalias
func (a *API) createAlias(r *request) (any, error) {
	alias, err := r.roomAlias()
	if err != nil {
		return nil, err
	}
	var req struct {
		RoomID *string `json:"room_id"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.RoomID == nil {
		return nil, missingParam("room_id")
	}
	room, err := id.ParseRoomID(*req.RoomID)
	if err != nil {
		return nil, invalidParam("%q is not a room ID", *req.RoomID)
	}
	if err := a.mayName(r, alias); err != nil {
		return nil, err
	}
	return nil, a.config.Directory.Create(r.Context(), alias, room, r.user, r.admin || r.service != nil)
}

// deleteAlias removes an alias, and, as far as the user may do that, from what the room says about its aliases.
//
// spec:client-server-api#delete_matrixclientv3directoryroomroomalias
func (a *API) deleteAlias(r *request) (any, error) {
	alias, err := r.roomAlias()
	if err != nil {
		return nil, err
	}
	if err := a.mayName(r, alias); err != nil && !r.admin {
		return nil, err
	}
	room, err := a.config.Directory.Delete(r.Context(), alias, r.user, r.admin || r.service != nil)
	if err != nil {
		return nil, err
	}
	if err := a.dropCanonicalAlias(r.Context(), r.user, room, string(alias)); err != nil {
		a.log.Debug("a deleted alias stays in m.room.canonical_alias", "room", room, "error", err)
	}
	return nil, nil
}

// dropCanonicalAlias takes an alias out of the room's m.room.canonical_alias, if it is there.
func (a *API) dropCanonicalAlias(ctx context.Context, user id.UserID, room id.RoomID, alias string) error {
	form := a.currentAliases(ctx, user, room)
	if !slices.Contains(form.all(), alias) {
		return nil
	}
	content := make(map[string]any)
	if form.Alias != nil && *form.Alias != alias {
		content["alias"] = *form.Alias
	}
	if others := slices.DeleteFunc(form.AltAliases, func(s string) bool { return s == alias }); len(others) > 0 {
		content["alt_aliases"] = others
	}
	raw, err := marshal(content)
	if err != nil {
		return err
	}
	stateKey := ""
	_, err = a.config.Rooms.Send(ctx, rooms.SendRequest{
		Room: room, Sender: user, Type: canonicalAlias, StateKey: &stateKey, Content: json.RawMessage(raw),
	})
	return err
}

// spec:client-server-api#get_matrixclientv3roomsroomidaliases
func (a *API) roomAliases(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	aliases, err := a.config.Directory.Aliases(r.Context(), room, r.user)
	return map[string]any{"aliases": aliases}, err
}

package directory

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Resolve says where an alias leads, and which servers are in that room: ours from our own table, others by asking
// their server. M_NOT_FOUND if nowhere; a *client.Error if that server could not be asked.
//
// spec:client-server-api#get_matrixclientv3directoryroomroomalias
func (d *Directory) Resolve(ctx context.Context, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	if alias.Server() == d.self {
		return d.Local(ctx, alias)
	}
	if d.client == nil {
		return federation.DirectoryResponse{}, federation.NotFound("the alias is another server's, and this one asks none")
	}
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	found, err := d.client.QueryDirectory(ctx, alias.Server(), alias)
	if err != nil {
		return federation.DirectoryResponse{}, err
	}
	if !slices.Contains(found.Servers, alias.Server()) {
		found.Servers = append(found.Servers, alias.Server())
	}
	return found, nil
}

// Local says where an alias of ours leads; M_NOT_FOUND if nowhere. One that an application service may have is asked for there. It is
// also the answer to other servers.
//
// spec:server-server-api#querying-for-information
func (d *Directory) Local(ctx context.Context, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	found, err := d.Known(ctx, alias)
	var missing *federation.Error
	if d.services == nil || alias.Server() != d.self || !errors.As(err, &missing) {
		return found, err
	}
	if has, failed := d.services.HasAlias(ctx, alias); failed != nil || !has {
		return found, cmp.Or(failed, err)
	}
	return d.Known(ctx, alias)
}

// Known is Local without asking application services.
func (d *Directory) Known(ctx context.Context, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	if alias.Server() != d.self {
		return federation.DirectoryResponse{}, federation.NotFound("this alias is not of this server")
	}
	found, ok, err := d.store.Alias(ctx, alias)
	switch {
	case err != nil:
		return federation.DirectoryResponse{}, err
	case !ok:
		return federation.DirectoryResponse{}, federation.NotFound("there is no such alias")
	}
	servers, err := d.servers(ctx, found.RoomID)
	return federation.DirectoryResponse{RoomID: found.RoomID, Servers: servers}, err
}

// servers are some servers in a room: this one first if it takes part, then those with the most users.
func (d *Directory) servers(ctx context.Context, room id.RoomID) ([]id.ServerName, error) {
	joined, err := d.store.ServersIn(ctx, room)
	if err != nil {
		return nil, err
	}
	servers := make([]id.ServerName, 0, len(joined))
	for server := range joined {
		servers = append(servers, server)
	}
	slices.SortFunc(servers, func(a, b id.ServerName) int {
		switch {
		case a == d.self:
			return -1
		case b == d.self:
			return 1
		}
		return cmp.Or(cmp.Compare(joined[b], joined[a]), cmp.Compare(a, b))
	})
	if len(servers) > maxServers {
		servers = servers[:maxServers]
	}
	if len(servers) == 0 {
		servers = []id.ServerName{d.self}
	}
	return servers, nil
}

// CheckNew is nil for an alias that can be made here: of this server, and printable.
func (d *Directory) CheckNew(alias id.RoomAlias) error {
	switch {
	case alias.Server() != d.self:
		return federation.InvalidParam("the alias must end with :" + string(d.self))
	case alias.Localpart() == "" || strings.ContainsAny(alias.Localpart(), " \t\r\n"):
		return federation.InvalidParam("an alias has no blanks, and is not empty")
	}
	return nil
}

// Create makes an alias of ours lead to a room. The creator must be joined to it. M_UNKNOWN with 409 if it is taken.
//
// spec:client-server-api#put_matrixclientv3directoryroomroomalias
func (d *Directory) Create(ctx context.Context, alias id.RoomAlias, room id.RoomID, creator id.UserID, admin bool) error {
	if err := d.CheckNew(alias); err != nil {
		return err
	}
	if _, err := d.known(ctx, room); err != nil {
		return err
	}
	if !admin {
		member, ok, err := d.store.Membership(ctx, room, creator)
		switch {
		case err != nil:
			return err
		case !ok || member.Membership != "join":
			return federation.Forbidden("you are not joined to this room")
		}
	}
	there, err := d.store.Aliases(ctx, room)
	switch {
	case err != nil:
		return err
	case len(there) >= maxAliasesPerRoom:
		return federation.Forbidden("this room has too many aliases")
	}
	err = d.store.CreateAlias(ctx, store.Alias{Alias: alias, RoomID: room, Creator: creator})
	if errors.Is(err, store.ErrExists) {
		return federation.NewError(http.StatusConflict, federation.CodeUnknown, "this alias exists already")
	}
	return err
}

// Delete removes an alias of ours and returns the room it led to. Its creator may do that, who may set the room's
// main alias, and admins.
//
// spec:client-server-api#delete_matrixclientv3directoryroomroomalias
func (d *Directory) Delete(ctx context.Context, alias id.RoomAlias, asker id.UserID, admin bool) (id.RoomID, error) {
	notThere := federation.NotFound("there is no such alias")
	if alias.Server() != d.self {
		return "", notThere
	}
	found, ok, err := d.store.Alias(ctx, alias)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", notThere
	}
	if !admin && found.Creator != asker {
		if err := d.mayName(ctx, found.RoomID, asker); err != nil {
			return "", err
		}
	}
	err = d.store.DeleteAlias(ctx, alias)
	if errors.Is(err, store.ErrNotFound) {
		return "", notThere
	}
	return found.RoomID, err
}

// Aliases lists the aliases of ours that lead to a room, for those who are joined to it, and for everybody if it is
// world-readable.
//
// spec:client-server-api#get_matrixclientv3roomsroomidaliases
func (d *Directory) Aliases(ctx context.Context, room id.RoomID, asker id.UserID) ([]id.RoomAlias, error) {
	member, ok, err := d.store.Membership(ctx, room, asker)
	if err != nil {
		return nil, err
	}
	if !ok || member.Membership != "join" {
		summary, err := d.Summary(ctx, room)
		if err != nil || !summary.WorldReadable {
			return nil, federation.Forbidden("you are not joined to this room")
		}
	}
	found, err := d.store.Aliases(ctx, room)
	if err != nil {
		return nil, err
	}
	aliases := make([]id.RoomAlias, 0, len(found))
	for _, a := range found {
		aliases = append(aliases, a.Alias)
	}
	slices.Sort(aliases)
	return aliases, nil
}

// Move makes the aliases of ours that lead to one room lead to another, and the list of rooms show that one instead:
// for room upgrades. To do it again changes nothing.
func (d *Directory) Move(ctx context.Context, from, to id.RoomID) error {
	if err := d.store.MoveAliases(ctx, from, to); err != nil {
		return err
	}
	public, err := d.Published(ctx, from)
	if err != nil || !public {
		return err
	}
	if err := d.store.Publish(ctx, to, true); err != nil {
		return err
	}
	return d.store.Publish(ctx, from, false)
}

package directory

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// PublicRooms is a page of this server's published rooms, the largest first: the answer to clients and to servers.
//
// spec:client-server-api#published-room-directory
func (d *Directory) PublicRooms(ctx context.Context, request federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	from, err := parseCursor(request.Since)
	if err != nil {
		return federation.PublicRoomsResponse{}, err
	}
	limit := request.Limit
	switch {
	case limit < 0:
		return federation.PublicRoomsResponse{}, federation.InvalidParam("limit must not be negative")
	case limit == 0:
		limit = defaultPage
	}
	all, err := d.matching(ctx, request)
	if err != nil {
		return federation.PublicRoomsResponse{}, err
	}
	page, before, after := cut(all, from, min(limit, maxPage))
	response := federation.PublicRoomsResponse{Chunk: page, TotalRoomCountEstimate: len(all)}
	if len(page) > 0 {
		if after {
			response.NextBatch = cursorOf(page[len(page)-1], false).String()
		}
		if before {
			response.PrevBatch = cursorOf(page[0], true).String()
		}
	}
	return response, nil
}

// RemotePublicRooms asks another server for its list.
func (d *Directory) RemotePublicRooms(ctx context.Context, server id.ServerName, request federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	if server == d.self {
		return d.PublicRooms(ctx, request)
	}
	if d.client == nil {
		return federation.PublicRoomsResponse{}, federation.NotFound("this server asks no others")
	}
	if request.Limit <= 0 {
		request.Limit = defaultPage
	}
	request.Limit = min(request.Limit, maxPage)
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	response, err := d.client.PublicRooms(ctx, server, request)
	if err != nil {
		return response, err
	}
	if len(response.Chunk) > maxPage {
		response.Chunk = response.Chunk[:maxPage]
	}
	return response, nil
}

// matching lists the published rooms that a request asks for, in the order of the list.
func (d *Directory) matching(ctx context.Context, request federation.PublicRoomsRequest) ([]federation.PublicRoom, error) {
	term, types := "", []*string(nil)
	if f := request.Filter; f != nil {
		term, types = strings.ToLower(strings.TrimSpace(f.GenericSearchTerm)), f.RoomTypes
	}
	if len(term) > maxSearchBytes {
		return nil, federation.InvalidParam("the search term is too long")
	}
	all, err := d.list(ctx, request)
	if err != nil || term == "" && types == nil {
		return all, err
	}
	var rooms []federation.PublicRoom
	for _, room := range all {
		if matches(room, term, types) {
			rooms = append(rooms, room)
		}
	}
	return rooms, nil
}

// listing is the list of published rooms as it was put together last.
type listing struct {
	mu       sync.Mutex              // held while it is put together: once for all who ask
	rooms    []federation.PublicRoom // guarded by mu; never changed in place
	position store.Position          // guarded by mu: what had been committed
	made     time.Time               // guarded by mu
}

// published are the published rooms that somebody is in, in the order of the list. The slice must not be changed.
func (d *Directory) published(ctx context.Context) ([]federation.PublicRoom, error) {
	d.listing.mu.Lock()
	defer d.listing.mu.Unlock()
	position := d.store.Position()
	if !d.listing.made.IsZero() && (position == d.listing.position || len(d.listing.rooms) > largeList && time.Since(d.listing.made) < listLife) {
		return d.listing.rooms, nil
	}
	published, err := d.store.PublishedRooms(ctx)
	if err != nil {
		return nil, err
	}
	rooms, err := d.summarised(ctx, published)
	if err != nil {
		return nil, err
	}
	d.listing.rooms, d.listing.position, d.listing.made = rooms, position, time.Now()
	return rooms, nil
}

// list is the list that a request is for: this server's own, that of a third-party network, or all.
//
// spec:application-service-api#published-room-directories
func (d *Directory) list(ctx context.Context, request federation.PublicRoomsRequest) ([]federation.PublicRoom, error) {
	var published []store.PublishedRoom
	var err error
	switch {
	case d.services == nil || !request.IncludeAllNetworks && request.ThirdPartyInstanceID == "":
		return d.published(ctx)
	case request.IncludeAllNetworks && request.ThirdPartyInstanceID != "":
		return nil, federation.InvalidParam("third_party_instance_id can't be given with include_all_networks")
	case request.IncludeAllNetworks:
		published, err = d.store.AllPublishedRooms(ctx)
	default:
		service, network, known := d.services.Instance(request.ThirdPartyInstanceID)
		if !known {
			return nil, nil
		}
		published, err = d.store.NetworkRooms(ctx, service, network)
	}
	if err != nil {
		return nil, err
	}
	return d.summarised(ctx, published)
}

// PublishInNetwork puts a room into an application service's list of a network, or takes it out; M_NOT_FOUND for rooms we don't know.
//
// spec:client-server-api#put_matrixclientv3directorylistappservicenetworkidroomid
func (d *Directory) PublishInNetwork(ctx context.Context, service, network string, room id.RoomID, public bool) error {
	if _, err := d.known(ctx, room); err != nil {
		return err
	}
	if len(network) > maxNetworkBytes {
		return federation.InvalidParam("the ID of the network is too long")
	}
	return d.store.PublishInNetwork(ctx, service, network, room, public)
}

// summarised are published rooms that somebody is in, in the order of the list.
func (d *Directory) summarised(ctx context.Context, published []store.PublishedRoom) ([]federation.PublicRoom, error) {
	var rooms []federation.PublicRoom
	for _, p := range published {
		if p.Joined == 0 {
			continue // everybody has left: nobody can join it any more
		}
		s, known := d.summaries.find(p.RoomID, p.Position)
		if !known {
			info, ok, err := d.store.Room(ctx, p.RoomID)
			if err != nil {
				return nil, err
			}
			if !ok || !info.Created {
				continue
			}
			if s, err = d.summary(ctx, info); err != nil {
				return nil, err
			}
		}
		rooms = append(rooms, s.PublicRoom)
	}
	slices.SortFunc(rooms, compareRooms)
	return rooms, nil
}

func compareRooms(a, b federation.PublicRoom) int {
	return cmp.Or(cmp.Compare(b.NumJoinedMembers, a.NumJoinedMembers), cmp.Compare(a.RoomID, b.RoomID))
}

func matches(s federation.PublicRoom, term string, types []*string) bool {
	if types != nil && !slices.ContainsFunc(types, func(t *string) bool {
		return t == nil && s.RoomType == "" || t != nil && *t == s.RoomType
	}) {
		return false
	}
	for _, field := range []string{s.Name, s.Topic, string(s.CanonicalAlias)} {
		if strings.Contains(strings.ToLower(field), term) {
			return true
		}
	}
	return false
}

// cursor is a place in the list, by the room that stood there: it stays good while rooms come and go.
type cursor struct {
	Joined int       `json:"n"`
	Room   id.RoomID `json:"r"`
	Back   bool      `json:"b,omitempty"` // the page before that room, not the one after it
}

func cursorOf(s federation.PublicRoom, back bool) cursor {
	return cursor{Joined: s.NumJoinedMembers, Room: s.RoomID, Back: back}
}

func (c cursor) String() string {
	raw, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(token string) (*cursor, error) {
	if token == "" {
		return nil, nil
	}
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(token) > maxTokenBytes || exactjson.Unmarshal(raw, &c) != nil || c.Room == "" {
		return nil, federation.InvalidParam("since is not a token of this server")
	}
	return &c, nil
}

// cut takes the page at the cursor from the ordered list, and tells whether there is more before and after it.
func cut(all []federation.PublicRoom, from *cursor, limit int) (page []federation.PublicRoom, before, after bool) {
	start, end := 0, min(limit, len(all))
	if from != nil {
		at, found := slices.BinarySearchFunc(all, federation.PublicRoom{RoomID: from.Room, NumJoinedMembers: from.Joined}, compareRooms)
		switch {
		case from.Back:
			start, end = max(at-limit, 0), at
		default:
			if found {
				at++
			}
			start, end = at, min(at+limit, len(all))
		}
	}
	return all[start:end], start > 0, end < len(all)
}

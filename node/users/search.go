package users

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
	"hanse/node/words"
)

// Found is a user that a search found.
type Found struct {
	UserID      id.UserID `json:"user_id"`
	DisplayName string    `json:"display_name,omitempty"`
	AvatarURL   string    `json:"avatar_url,omitempty"`
}

// Search finds users by the beginnings of words of their names and display names, without regard to case: those of this
// server, and those of others who share a room with the asker or are in a room that everybody may join or read. limited says
// that there are more than limit (which is cut to 50).
//
// Users of other servers are shown by the name that they have in a room where the asker can see it.
//
// spec:client-server-api#user-directory
func (u *Users) Search(ctx context.Context, asker id.UserID, term string, limit int) (found []Found, limited bool, err error) {
	found = []Found{}
	limit = min(limit, maxSearchResults)
	localpart, server, whole := strings.Cut(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(term)), "@"), ":")
	wanted := words.Distinct(words.Split(localpart), maxSearchWords)
	if len(wanted) == 0 || limit <= 0 {
		return found, false, nil
	}
	s := searching{Users: u, asker: asker, wanted: wanted, seen: map[id.UserID]bool{}, open: map[id.RoomID]bool{}}
	if whole {
		s.server = server
	}
	lead := slices.MaxFunc(wanted, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	var after store.UserWord
	for scanned := 0; scanned < maxSearchScan && len(found) <= limit; {
		page, err := u.store.UserWords(ctx, lead, after, searchPage)
		if err != nil {
			return nil, false, err
		}
		for _, w := range page {
			if s.seen[w.User] || len(found) > limit {
				continue
			}
			s.seen[w.User] = true
			one, ok, err := s.look(ctx, w.User)
			if err != nil {
				return nil, false, err
			}
			if ok {
				found = append(found, one)
			}
		}
		if scanned += len(page); len(page) < searchPage {
			break
		}
		after = page[len(page)-1]
	}
	limited = len(found) > limit
	found = found[:min(len(found), limit)]
	slices.SortStableFunc(found, func(a, b Found) int { // whose name begins so comes first, and who has a profile
		return cmp.Or(-compareBool(s.begins(a), s.begins(b)), -compareBool(a.DisplayName != "", b.DisplayName != ""))
	})
	return found, limited, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// searching is one search.
type searching struct {
	*Users
	asker  id.UserID
	wanted []string
	server string // what the users' server begins with
	seen   map[id.UserID]bool
	open   map[id.RoomID]bool // of the rooms looked at: whether everybody may join or read them
}

// look tells whether a user is to be shown, and how.
func (s *searching) look(ctx context.Context, user id.UserID) (Found, bool, error) {
	if !strings.HasPrefix(string(user.Server()), s.server) {
		return Found{}, false, nil
	}
	show := s.ours
	if user.Server() != s.self {
		show = s.others
	}
	if user == s.asker { // who needn't be told of themselves, but as one of those whom everybody can see
		if _, ok, err := s.openRoom(ctx, user); err != nil || !ok {
			return Found{}, false, err
		}
	}
	f, ok, err := show(ctx, user)
	return f, ok && s.matches(f), err
}

// matches tells whether each wanted word begins a word of the name.
func (s *searching) matches(f Found) bool {
	have := words.Split(f.UserID.Localpart() + " " + f.DisplayName)
	for _, word := range s.wanted {
		if !slices.ContainsFunc(have, func(w string) bool { return strings.HasPrefix(w, word) }) {
			return false
		}
	}
	return true
}

// begins tells whether a name begins with the first word.
func (s *searching) begins(f Found) bool {
	return strings.HasPrefix(strings.ToLower(f.UserID.Localpart()), s.wanted[0]) || strings.HasPrefix(strings.ToLower(f.DisplayName), s.wanted[0])
}

// ours is a user of this server.
func (s *searching) ours(ctx context.Context, user id.UserID) (Found, bool, error) {
	account, ok, err := s.store.User(ctx, user)
	if err != nil || !ok || account.Deactivated || account.Guest {
		return Found{}, false, err
	}
	profile, err := s.store.Profile(ctx, user)
	return Found{UserID: user, DisplayName: text(profile["displayname"]), AvatarURL: text(profile["avatar_url"])}, true, err
}

// others is a user of another server, as a room shows them.
func (s *searching) others(ctx context.Context, user id.UserID) (Found, bool, error) {
	room, ok, err := s.store.SharedRoom(ctx, s.asker, user)
	if err == nil && !ok {
		room, ok, err = s.openRoom(ctx, user)
	}
	if err != nil || !ok {
		return Found{}, false, err
	}
	member, ok, err := s.store.Membership(ctx, room, user)
	if err != nil || !ok {
		return Found{}, false, err
	}
	row, ok, err := s.store.Event(ctx, member.EventID)
	if err != nil || !ok {
		return Found{}, false, err
	}
	var content struct {
		DisplayName json.RawMessage `json:"displayname"`
		AvatarURL   json.RawMessage `json:"avatar_url"`
	}
	if exactjson.Unmarshal(row.Event.Content(), &content) != nil {
		return Found{UserID: user}, true, nil
	}
	return Found{UserID: user, DisplayName: text(content.DisplayName), AvatarURL: text(content.AvatarURL)}, true, nil
}

// openRoom is a room that a user is in and that everybody may join or read, as far as this server can tell: it is in it.
func (s *searching) openRoom(ctx context.Context, user id.UserID) (id.RoomID, bool, error) {
	rooms, err := s.store.JoinedRooms(ctx, user)
	if err != nil {
		return "", false, err
	}
	for _, room := range rooms[:min(len(rooms), maxSearchRooms)] {
		open, known := s.open[room]
		if !known {
			if open, err = s.isOpen(ctx, room); err != nil {
				return "", false, err
			}
			s.open[room] = open
		}
		if open {
			return room, true, nil
		}
	}
	return "", false, nil
}

func (s *searching) isOpen(ctx context.Context, room id.RoomID) (bool, error) {
	if info, _, err := s.store.Room(ctx, room); err != nil || info.Local == 0 {
		return false, err
	}
	state, err := s.store.CurrentState(ctx, room)
	if err != nil {
		return false, err
	}
	events, err := s.store.StateEvents(ctx, state, roomstate.Key{Type: "m.room.join_rules"}, roomstate.Key{Type: "m.room.history_visibility"})
	for _, e := range events {
		rule, _ := canonicaljson.Get(e.Content(), "join_rule")
		visibility, _ := canonicaljson.Get(e.Content(), "history_visibility")
		if e.Type() == "m.room.join_rules" && string(rule) == `"public"` || e.Type() == "m.room.history_visibility" && string(visibility) == `"world_readable"` {
			return true, nil
		}
	}
	return false, err
}

// findable makes a user of ours findable by their name.
func (u *Users) findable(ctx context.Context, user id.UserID, displayName string) error {
	return u.store.AddUserWords(ctx, user, words.Distinct(words.Split(user.Localpart()+" "+displayName), maxSearchWords))
}

// findAll makes all users of ours findable who came before there was a directory of them.
func (u *Users) findAll(ctx context.Context) error {
	if done, err := u.store.UserWordsDone(ctx); err != nil || done {
		return err
	}
	for after := id.UserID(""); ; {
		page, err := u.store.Users(ctx, after, searchPage)
		if err != nil {
			return err
		}
		for _, account := range page {
			after = account.ID
			profile, err := u.store.Profile(ctx, account.ID)
			if err != nil {
				return err
			}
			if err := u.findable(ctx, account.ID, text(profile["displayname"])); err != nil {
				return err
			}
		}
		if len(page) < searchPage {
			return u.store.SetUserWordsDone(ctx)
		}
	}
}

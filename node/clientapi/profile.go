package clientapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"golang.org/x/sync/errgroup" // a few rooms at a time

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/users"
)

func (a *API) profileRoutes() []route {
	return []route{
		{http.MethodGet, "/profile/{userId}", stable, maybeUser, ordinary, a.getProfile},
		{http.MethodGet, "/profile/{userId}/{keyName}", stable, maybeUser, ordinary, a.getProfileField},
		{http.MethodPut, "/profile/{userId}/{keyName}", stable, withUser, sendsEvent, a.setProfileField}, // one into each of the user's rooms
		{http.MethodDelete, "/profile/{userId}/{keyName}", stable, withUser, sendsEvent, a.deleteProfileField},
	}
}

// spec:client-server-api#get_matrixclientv3profileuserid
func (a *API) getProfile(r *request) (any, error) {
	fields, err := a.profile(r, "")
	if err != nil {
		return nil, err
	}
	return shownProfile(fields), nil
}

// shownProfile leaves out the texts that are there and empty, as clients take their absence for "none".
func shownProfile(fields map[string]json.RawMessage) map[string]json.RawMessage {
	shown := make(map[string]json.RawMessage, len(fields))
	for key, value := range fields {
		if text := string(value); (key == "displayname" || key == "avatar_url") && (text == `""` || text == "null") {
			continue
		}
		shown[key] = value
	}
	return shown
}

// spec:client-server-api#get_matrixclientv3profileuseridkeyname
func (a *API) getProfileField(r *request) (any, error) {
	key := r.PathValue("keyName")
	if err := users.CheckFieldName(key); err != nil {
		return nil, err
	}
	fields, err := a.profile(r, key)
	if err != nil {
		return nil, err
	}
	value, ok := shownProfile(fields)[key]
	if !ok {
		return nil, notFound("this profile has no such field")
	}
	return map[string]json.RawMessage{key: value}, nil
}

// profile reads the profile of the path's user: ours from the store, others' from their server.
func (a *API) profile(r *request, field string) (map[string]json.RawMessage, error) {
	user, err := id.ParseUserID(r.PathValue("userId"))
	if err != nil {
		return nil, invalidParam("%q is not a user ID", r.PathValue("userId"))
	}
	if r.service != nil && r.service.Covers(user) { // which isn't asked for a user while it asks for them itself
		if active, err := a.config.Users.Active(r.Context(), user); err != nil || !active {
			return nil, cmp.Or(err, error(notFound("no such user on this server")))
		}
	}
	if user.Server() == a.config.Self {
		return a.config.Users.ProfileFields(r.Context(), user)
	}
	if a.config.Profiles == nil {
		return nil, notFound("this server asks no others")
	}
	if err := a.limitStranger(r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), remoteProfileTimeout)
	defer cancel()
	return a.config.Profiles.QueryProfile(ctx, user.Server(), user, field)
}

// spec:client-server-api#put_matrixclientv3profileuseridkeyname
func (a *API) setProfileField(r *request) (any, error) {
	if err := a.mayChangeProfile(r); err != nil {
		return nil, err
	}
	key := r.PathValue("keyName")
	if err := users.CheckFieldName(key); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := r.decode(&fields); err != nil {
		return nil, err
	}
	value, ok := fields[key]
	switch {
	case !ok:
		return nil, missingParam(key)
	case string(value) == "null" && (key == "displayname" || key == "avatar_url"):
		value = json.RawMessage(`""`) // how older clients take a name away
	}
	changed, err := a.config.Users.SetProfileField(r.Context(), r.user, key, value)
	if err != nil {
		return nil, err
	}
	if changed {
		a.announceProfile(r, key)
	}
	return nil, nil
}

// spec:client-server-api#delete_matrixclientv3profileuseridkeyname
func (a *API) deleteProfileField(r *request) (any, error) {
	if err := a.mayChangeProfile(r); err != nil {
		return nil, err
	}
	changed, err := a.config.Users.DeleteProfileField(r.Context(), r.user, r.PathValue("keyName"))
	if err != nil {
		return nil, err
	}
	if changed {
		a.announceProfile(r, r.PathValue("keyName"))
	}
	return nil, nil
}

func (a *API) mayChangeProfile(r *request) error {
	switch user, err := id.ParseUserID(r.PathValue("userId")); {
	case err != nil:
		return invalidParam("%q is not a user ID", r.PathValue("userId"))
	case user != r.user:
		return forbidden("you can't change the profile of %s", user)
	}
	return nil
}

// announceProfile puts the new name or avatar into the user's membership events in all rooms they are joined to. The
// profile itself is changed already: a room that can't take it (the user was muted) keeps the old one.
//
// spec:client-server-api#events-on-change-of-profile-information
func (a *API) announceProfile(r *request, key string) {
	if key != "displayname" && key != "avatar_url" {
		return
	}
	ctx, cancel := r.detached()
	defer cancel()
	joined, err := a.config.Users.JoinedRooms(ctx, r.user)
	if err != nil {
		a.log.Error("a changed profile could not be announced", "user", r.user, "error", err)
		return
	}
	name, avatar, err := a.config.Users.Profile(ctx, r.user)
	if err != nil {
		a.log.Error("a changed profile could not be announced", "user", r.user, "error", err)
		return
	}
	var group errgroup.Group
	group.SetLimit(profileParallel)
	for _, room := range joined {
		group.Go(func() error {
			if err := a.announceIn(ctx, room, r.user, name, avatar); err != nil {
				a.log.Debug("a changed profile was not announced in a room", "user", r.user, "room", room, "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // none gives an error
}

func (a *API) announceIn(ctx context.Context, room id.RoomID, user id.UserID, name, avatar string) error {
	old, err := a.config.Rooms.StateEvent(ctx, user, room, "m.room.member", string(user))
	if err != nil {
		return err
	}
	content := make(map[string]json.RawMessage)
	if err := exactjson.Unmarshal(old.Content(), &content); err != nil {
		return err
	}
	// What belonged to the join and not to the profile: who authorised it would have to sign again.
	for _, key := range []string{"join_authorised_via_users_server", "reason", "third_party_invite"} {
		delete(content, key)
	}
	for key, value := range map[string]string{"displayname": name, "avatar_url": avatar} {
		if value == "" {
			delete(content, key)
			continue
		}
		if content[key], err = marshal(value); err != nil {
			return err
		}
	}
	raw, err := marshal(content)
	if err != nil {
		return err
	}
	// Not by Send, which takes a join that says nothing for one that is there already: a name can also be taken away.
	stateKey := string(user)
	_, err = a.config.Rooms.Propose(ctx, room, event.Draft{Type: "m.room.member", StateKey: &stateKey, Sender: user, Content: raw})
	return err
}

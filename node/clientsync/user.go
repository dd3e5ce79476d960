package clientsync

import (
	"context"
	"encoding/json"
	"slices"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// userFacts are what an answer needs to know of a user and what seldom changes. Immutable; the commit feed tells when
// they are no longer true.
type userFacts struct {
	at          store.Position // when the memberships were read
	memberships []store.Membership
	joined      []id.RoomID

	dataAt  store.Position // when the account data was read
	ignored map[id.UserID]bool
	judge   *judge
}

// facts gives what is true of a user at now.
func (s *Syncer) facts(ctx context.Context, user id.UserID, now store.Position) (userFacts, error) {
	facts, known := s.users.Get(user)
	moved, _ := s.stream.UserSince(user, facts.at)
	_, changed := s.stream.UserSince(user, facts.dataAt)
	var err error
	if !known || changed {
		if facts.judge, err = s.judge(ctx, user, facts.judge); err != nil {
			return facts, err
		}
		facts.ignored, facts.dataAt = facts.judge.ignored, now
	}
	if !known || moved || facts.at > now {
		if facts.memberships, err = s.memberships(ctx, user, now); err != nil {
			return facts, err
		}
		facts.at, facts.joined = now, nil
		for _, m := range facts.memberships {
			if m.Membership == "join" && !m.OutOfRoom {
				facts.joined = append(facts.joined, m.RoomID)
			}
		}
	}
	if !known || moved || changed {
		s.users.Put(user, facts)
	}
	return facts, nil
}

// memberships are a user's as they were at now, though the tables may be ahead of it.
func (s *Syncer) memberships(ctx context.Context, user id.UserID, now store.Position) ([]store.Membership, error) {
	all, err := s.store.Memberships(ctx, user)
	if err != nil || !slices.ContainsFunc(all, func(m store.Membership) bool { return m.Position > now }) {
		return all, err
	}
	then, err := s.store.MembershipsAt(ctx, user, now)
	if err != nil {
		return nil, err
	}
	earlier := map[id.RoomID]store.Membership{}
	for _, m := range then {
		earlier[m.RoomID] = m
	}
	kept := all[:0]
	for _, m := range all {
		if m.Position > now {
			old, there := earlier[m.RoomID]
			if !there {
				continue
			}
			m = old
		}
		kept = append(kept, m)
	}
	return kept, nil
}

// hides tells whether a membership is an invite that the user is not to be shown.
//
// spec:client-server-api/modules/ignore_users#server-behaviour
// spec:client-server-api/modules/invite_permission#server-behaviour
func (f userFacts) hides(m store.Membership) bool {
	return m.Membership == "invite" && (f.ignored[m.Sender] || f.judge.blocksInvites)
}

// Ignored are the users whose messages and invites a user is not to be shown.
//
// spec:client-server-api/modules/ignore_users#server-behaviour
func (s *Syncer) Ignored(ctx context.Context, user id.UserID) (map[id.UserID]bool, error) {
	facts, err := s.facts(ctx, user, s.stream.Now().Position)
	return facts.ignored, err
}

// ignoredUsersType is where a user keeps whom they ignore.
const ignoredUsersType = "m.ignored_user_list"

// ignoredUsers reads it; what a client got wrong ignores nobody.
func ignoredUsers(user id.UserID, raw json.RawMessage) map[id.UserID]bool {
	var content struct {
		Users map[id.UserID]json.RawMessage `json:"ignored_users"`
	}
	if len(raw) == 0 || exactjson.Unmarshal(raw, &content) != nil {
		return nil
	}
	ignored := make(map[id.UserID]bool, len(content.Users))
	for other := range content.Users {
		ignored[other] = other != user
	}
	return ignored
}

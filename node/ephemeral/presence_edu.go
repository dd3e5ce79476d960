package ephemeral

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/id"
)

// edu makes the EDU that tells of users of ours.
func (p *presence) edu(users []id.UserID) (federation.EDU, bool) {
	var content federation.PresenceEDU
	for _, user := range users {
		now := p.e.PresenceOf(user)
		update := federation.UserPresence{
			UserID: string(user), Presence: now.State, LastActiveAgo: now.LastActiveAgo.Milliseconds(), CurrentlyActive: now.CurrentlyActive,
		}
		if now.StatusMsg != "" {
			update.StatusMsg = &now.StatusMsg
		}
		content.Push = append(content.Push, update)
	}
	raw, err := json.Marshal(content)
	return federation.EDU{Type: federation.EDUPresence, Content: raw}, err == nil
}

// receivePresence takes an m.presence EDU: of the origin's users who share a room with one of ours.
//
// spec:server-server-api#presence
func (e *Ephemeral) receivePresence(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	p := e.presence
	if p == nil || !p.in {
		return nil
	}
	var edu federation.PresenceEDU
	if json.Unmarshal(content, &edu) != nil {
		return nil
	}
	updates := map[id.UserID]federation.UserPresence{}
	var users []id.UserID
	for _, update := range edu.Push[:min(len(edu.Push), maxPresenceReceived)] {
		user, err := id.ParseUserID(update.UserID)
		if err != nil || user.Server() != origin || !validPresence(update) {
			continue
		}
		if _, twice := updates[user]; !twice {
			users = append(users, user)
		}
		updates[user] = update
	}
	if len(users) == 0 {
		return nil
	}
	sharing, err := e.config.Store.SharingWithUs(ctx, users)
	if err != nil {
		return err
	}
	for _, user := range sharing {
		update := updates[user]
		p.change(user, func(w *who, now time.Time) {
			w.heard, w.state, w.status = now, update.Presence, ""
			if update.StatusMsg != nil {
				w.status = *update.StatusMsg
			}
			w.active = now.Add(-time.Duration(min(update.LastActiveAgo, maxAgo.Milliseconds())) * time.Millisecond)
			if update.CurrentlyActive {
				w.active = now
			}
		})
	}
	return nil
}

func validPresence(update federation.UserPresence) bool {
	if update.StatusMsg != nil && (len(*update.StatusMsg) > MaxStatusMsg || !utf8.ValidString(*update.StatusMsg)) {
		return false
	}
	switch update.Presence {
	case Online, Unavailable, Offline:
		return update.LastActiveAgo >= 0
	}
	return false
}

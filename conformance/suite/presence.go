package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const presenceSection = "server-server-api#presence"

// presenceOf is what a user sees of another's presence.
func presenceOf(ctx context.Context, u *user.User, of id.UserID) func() (map[string]any, error) {
	return func() (map[string]any, error) {
		var answer map[string]any
		err := u.Call(ctx, http.MethodGet, "/_matrix/client/v3/presence/"+url.PathEscape(string(of))+"/status", nil, nil, &answer)
		return answer, err
	}
}

// appears makes a user's presence known.
func appears(ctx context.Context, u *user.User, state, message string) {
	GinkgoHelper()
	Expect(u.Call(ctx, http.MethodPut, "/_matrix/client/v3/presence/"+url.PathEscape(u.ID)+"/status", nil, map[string]any{"presence": state, "status_msg": message}, nil)).To(Succeed())
}

// withPresence is a new user who is there, of a server that has presence: it is not applicable to others, for which
// everybody is always offline.
func withPresence(ctx context.Context) *user.User {
	GinkgoHelper()
	u := sut.newUser(ctx)
	err := u.Call(ctx, http.MethodPut, "/_matrix/client/v3/presence/"+url.PathEscape(u.ID)+"/status", nil, map[string]any{"presence": "online", "status_msg": "here"}, nil)
	seen, ask := presenceOf(ctx, u, id.UserID(u.ID))()
	if err != nil || ask != nil || seen["status_msg"] != "here" {
		Skip("this server has no presence, or it is switched off")
	}
	return u
}

// updates are what a peer was told of a user's presence, the oldest first.
func updates(p *peer.Peer, of string) func() ([]map[string]any, error) {
	return func() ([]map[string]any, error) {
		var found []map[string]any
		for _, edu := range p.EDUs("m.presence") {
			var content struct {
				Push []map[string]any `json:"push"`
			}
			if err := json.Unmarshal(edu.Content, &content); err != nil {
				return nil, err
			}
			for _, update := range content.Push {
				if update["user_id"] == of {
					found = append(found, update)
				}
			}
		}
		return found, nil
	}
}

var _ = Describe("Presence", Label("s2s:presence"), func() {
	It("is told to the servers in a user's rooms, and to no others",
		says(presenceSection, "Servers should only send presence updates for users that the receiving server would be interested in. Such as the receiving server sharing a room with a given user."), func(ctx SpecContext) {
			carol := withPresence(ctx)
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			_, err = carol.Join(ctx, string(room.ID), string(p.Name))
			Expect(err).NotTo(HaveOccurred())
			elsewhere := meet(ctx, mainVersion)
			for state, message := range map[string]string{"online": "at sea", "unavailable": "in the sick bay"} {
				appears(ctx, carol, state, message)
				Eventually(updates(p, carol.ID)).Should(ContainElement(And(
					HaveKeyWithValue("presence", state), HaveKeyWithValue("status_msg", message), HaveKeyWithValue("last_active_ago", BeNumerically(">=", 0)))))
			}
			elsewhere.fromAlice(ctx, "what was to come has come")
			Expect(updates(elsewhere.peer, carol.ID)()).To(BeEmpty())
		})

	It("of another server's user is shown to those who share a room",
		says("server-server-api#edus", "EDUs, by comparison to PDUs, do not have an ID, a room ID, or a list of \"previous\" IDs."),
		follows(presenceSection, "who shares a room with a user is shown the presence that the user's server tells"), func(ctx SpecContext) {
			withPresence(ctx)
			m := meet(ctx, mainVersion)
			Expect(m.tells(ctx, m.update("unavailable", "in port"))).To(Succeed())
			Eventually(presenceOf(ctx, alice, m.user)).Should(And(HaveKeyWithValue("presence", "unavailable"), HaveKeyWithValue("status_msg", "in port")))
			Eventually(shownPresence(ctx, m.user)).Should(And(HaveKeyWithValue("presence", "unavailable"), HaveKeyWithValue("status_msg", "in port")))
			Expect(m.tells(ctx, m.update("online", "at sea"))).To(Succeed())
			Eventually(shownPresence(ctx, m.user)).Should(And(HaveKeyWithValue("presence", "online"), HaveKeyWithValue("status_msg", "at sea")))
			Expect(m.tells(ctx, m.update("offline", ""))).To(Succeed())
			Eventually(presenceOf(ctx, alice, m.user)).Should(HaveKeyWithValue("presence", "offline"))
		})

	It("is believed of a server's own users alone",
		follows(presenceSection, "a server tells of its own users"), func(ctx SpecContext) {
			carol := withPresence(ctx)
			m := meet(ctx, mainVersion)
			other := visit(ctx, newPeer(), m.ID)
			_, err := carol.Join(ctx, string(m.ID))
			Expect(err).NotTo(HaveOccurred())
			forged := func(of id.UserID) map[string]any {
				update := m.update("online", "forged")
				update["user_id"] = of
				return update
			}
			Expect(m.tells(ctx, forged(other.user), forged(id.UserID(carol.ID)), m.update("online", "true"))).To(Succeed())
			Eventually(presenceOf(ctx, alice, m.user)).Should(HaveKeyWithValue("status_msg", "true"))
			for _, victim := range []id.UserID{other.user, id.UserID(carol.ID)} {
				Expect(presenceOf(ctx, alice, victim)()).NotTo(HaveKeyWithValue("status_msg", "forged"))
			}
		})

	It("what can't be understood does not keep the rest away",
		follows("server-server-api#edus", "other servers' mistakes are to be expected"), func(ctx SpecContext) {
			withPresence(ctx)
			m := meet(ctx, mainVersion)
			nobody, nothing := m.update("online", ""), m.update("online", "")
			delete(nobody, "user_id")
			delete(nothing, "presence")
			Expect(m.tells(ctx, nobody, nothing, m.update("online", "understood"))).To(Succeed())
			Eventually(presenceOf(ctx, alice, m.user)).Should(HaveKeyWithValue("status_msg", "understood"))
		})
})

// update is one update of the presence of the peer's user.
func (m meeting) update(state, message string) map[string]any {
	update := map[string]any{"user_id": m.user, "presence": state, "last_active_ago": 60_000}
	if message != "" {
		update["status_msg"] = message
	}
	return update
}

// tells sends updates in one EDU.
func (m meeting) tells(ctx context.Context, updates ...map[string]any) error {
	return m.peer.SendEDU(ctx, sut.name, "m.presence", map[string]any{"push": updates})
}

// shownPresence is the content of the last presence event of a user in alice's sync.
func shownPresence(ctx context.Context, of id.UserID) func() (map[string]any, error) {
	return func() (map[string]any, error) {
		var answer struct {
			Presence struct {
				Events []struct {
					Type    string         `json:"type"`
					Sender  id.UserID      `json:"sender"`
					Content map[string]any `json:"content"`
				} `json:"events"`
			} `json:"presence"`
		}
		err := alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", freshFilter("")), nil, &answer)
		var content map[string]any
		for _, e := range answer.Presence.Events {
			if e.Type == "m.presence" && e.Sender == of {
				content = e.Content
			}
		}
		return content, err
	}
}

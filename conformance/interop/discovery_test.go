package interop

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

var _ = Describe("finding what is on Hanse and "+peerTitle, func() {
	for _, d := range both("on %s") {
		Context(d.name, func() {
			It("tells of a user's profile", func(ctx SpecContext) { profiles(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("lists published rooms, and finds them", func(ctx SpecContext) { published(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("shows a space with restricted rooms", func(ctx SpecContext) { spaces(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("shows a room before it is joined", func(ctx SpecContext) { previews(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("sums up what relates to an event", func(ctx SpecContext) { related(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("finds the other's users by their names", func(ctx SpecContext) { found(ctx, d.direction) }, SpecTimeout(time.Minute))
		})
	}
})

type object = map[string]any

// ask makes a call that must be answered.
func ask(ctx context.Context, u *user.User, method, path string, query url.Values, body any) object {
	GinkgoHelper()
	answer := object{}
	Expect(u.Call(ctx, method, path, query, body, &answer)).To(Succeed())
	return answer
}

func clientV3(path string) string { return "/_matrix/client/v3" + path }
func clientV1(path string) string { return "/_matrix/client/v1" + path }

// profiles: a name and a field of the user's own are asked for, and a change of the name is told in shared rooms.
func profiles(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	profile := clientV3("/profile/" + url.PathEscape(c.alice.ID))
	ask(ctx, c.alice, "PUT", profile+"/displayname", nil, object{"displayname": "Alice of old"})
	Expect(ask(ctx, c.bob, "GET", profile+"/displayname", nil, nil)).To(Equal(object{"displayname": "Alice of old"}))
	Expect(ask(ctx, c.bob, "GET", profile, nil, nil)).To(HaveKeyWithValue("displayname", "Alice of old"))
	Eventually(ctx, func() (string, error) {
		list, err := c.bob.State(ctx, c.room)
		for _, e := range list {
			if e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == c.alice.ID {
				var content struct{ Displayname string }
				err = json.Unmarshal(e.Content, &content)
				return content.Displayname, err
			}
		}
		return "", err
	}).WithTimeout(patience).Should(Equal("Alice of old"))

	if *d.resident == hanse { // Synapse has fields of one's own as an experiment only
		ask(ctx, c.alice, "PUT", profile+"/m.tz", nil, object{"m.tz": "Europe/Berlin"})
		Expect(ask(ctx, c.bob, "GET", profile, nil, nil)).To(HaveKeyWithValue("displayname", "Alice of old"))
	}
	var refused *user.Error
	err := c.bob.Call(ctx, "GET", clientV3("/profile/"+url.PathEscape("@nobody:"+d.home())), nil, nil, nil)
	Expect(err).To(BeAssignableToTypeOf(refused))
	Expect(err.(*user.Error).Status).To(Equal(404))
}

// published: the other's list is asked for, whole, by a word, by type, and page by page.
func published(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	var rooms []string
	for _, name := range []string{"heron one", "heron two", "heron three"} {
		rooms = append(rooms, create(ctx, alice, object{"name": name, "visibility": "public", "topic": "birds"}))
	}
	space := create(ctx, alice, object{"name": "heron space", "visibility": "public", "creation_content": object{"type": "m.space"}})
	list := func(body object) ([]string, object) {
		GinkgoHelper()
		answer := ask(ctx, bob, "POST", clientV3("/publicRooms"), url.Values{"server": {d.home()}}, body)
		var ids []string
		for _, room := range answer["chunk"].([]any) {
			ids = append(ids, room.(object)["room_id"].(string))
		}
		return ids, answer
	}
	Eventually(ctx, func() []string { // Synapse counts rooms behind what happens in them
		herons, _ := list(object{"filter": object{"generic_search_term": "heron"}})
		return herons
	}).WithTimeout(patience).Should(ConsistOf(append(rooms, space)))
	met := map[string]bool{}
	for since, more := "", true; more; {
		body := object{"limit": 2}
		if since != "" {
			body["since"] = since
		}
		page, answer := list(body)
		Expect(len(page)).To(BeNumerically("<=", 2))
		for _, room := range page {
			Expect(met).NotTo(HaveKey(room))
			met[room] = true
		}
		since, more = answer["next_batch"].(string)
	}
	Expect(met).To(SatisfyAll(HaveKey(rooms[0]), HaveKey(rooms[1]), HaveKey(rooms[2]), HaveKey(space)))
	whole := ask(ctx, bob, "GET", clientV3("/publicRooms"), url.Values{"server": {d.home()}}, nil)
	Expect(whole["total_room_count_estimate"]).To(BeNumerically(">=", 4))

	only, answer := list(object{"filter": object{"generic_search_term": "heron", "room_types": []any{"m.space"}}})
	Expect(only).To(Equal([]string{space}))
	Expect(answer["chunk"].([]any)[0]).To(SatisfyAll(HaveKeyWithValue("name", "heron space"), HaveKeyWithValue("room_type", "m.space"),
		HaveKeyWithValue("num_joined_members", 1.0), HaveKeyWithValue("join_rule", "public")))
}

// hierarchy are the rooms of a space as a user's server shows them.
func hierarchy(ctx context.Context, u *user.User, space string) func() ([]string, error) {
	return func() ([]string, error) {
		var answer struct {
			Rooms []struct {
				RoomID   string            `json:"room_id"`
				Children []json.RawMessage `json:"children_state"`
			}
		}
		err := u.Call(ctx, "GET", clientV1("/rooms/"+url.PathEscape(space)+"/hierarchy"), nil, nil, &answer)
		var ids []string
		for _, room := range answer.Rooms {
			ids = append(ids, room.RoomID)
		}
		return ids, err
	}
}

// spaces: a space of the resident's, in a space of the visitor's, with a public room, a secret one, and one for members.
func spaces(ctx context.Context, d direction) {
	alice, bob, carol := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx), (*d.visitor).newUser(ctx)
	club := create(ctx, alice, object{"name": "club"})
	_, err := bob.Join(ctx, club, d.home())
	Expect(err).NotTo(HaveOccurred())
	open := create(ctx, alice, object{"name": "open"})
	secret := create(ctx, alice, object{"name": "secret", "preset": "private_chat"})
	members := create(ctx, alice, object{"name": "members", "initial_state": []any{object{
		"type": "m.room.join_rules", "state_key": "",
		"content": object{"join_rule": "restricted", "allow": []any{object{"type": "m.room_membership", "room_id": club}}},
	}}})
	space := func(u *user.User, via string, children ...string) string {
		GinkgoHelper()
		id := create(ctx, u, object{"creation_content": object{"type": "m.space"}})
		for i, child := range children {
			_, err := u.SetState(ctx, id, "m.space.child", child, object{"via": []string{via}, "order": string(rune('a' + i))})
			Expect(err).NotTo(HaveOccurred())
		}
		return id
	}
	inner := space(alice, d.home(), open, secret, members)
	outer := space(bob, d.home(), inner)
	_, err = carol.Join(ctx, outer)
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, hierarchy(ctx, bob, outer)).WithTimeout(patience).Should(Equal([]string{outer, inner, open, members}))
	Expect(hierarchy(ctx, carol, outer)()).To(Equal([]string{outer, inner, open}), "who is not in the club")
	_, err = bob.Join(ctx, members, d.home())
	Expect(err).NotTo(HaveOccurred())
}

// previews: a room that the visitor's server knows nothing of.
func previews(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	room := create(ctx, alice, object{"name": "a look inside", "topic": "before joining"})
	answer := object{}
	query := url.Values{"via": {d.home()}}
	err := bob.Call(ctx, "GET", clientV1("/room_summary/"+url.PathEscape(room)), query, nil, &answer)
	Expect(err).NotTo(HaveOccurred())
	Expect(answer).To(SatisfyAll(HaveKeyWithValue("name", "a look inside"), HaveKeyWithValue("num_joined_members", 1.0), HaveKeyWithValue("membership", "leave")))
}

// related: a thread, an edit and a reaction of both servers' users, seen on both.
func related(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	root, err := c.alice.Say(ctx, c.room, "root")
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, bodies(ctx, c.bob, c.room)).WithTimeout(patience).Should(ContainElement("root"))
	relates := func(relType, target string) object {
		return object{"msgtype": "m.text", "body": relType, "m.relates_to": object{"rel_type": relType, "event_id": target}}
	}
	reply, err := c.bob.Send(ctx, c.room, "m.room.message", relates("m.thread", root))
	Expect(err).NotTo(HaveOccurred())
	edit := relates("m.replace", reply)
	edit["m.new_content"] = object{"msgtype": "m.text", "body": "edited"}
	_, err = c.bob.Send(ctx, c.room, "m.room.message", edit)
	Expect(err).NotTo(HaveOccurred())
	for _, u := range []*user.User{c.alice, c.bob} {
		path := clientV3("/rooms/" + url.PathEscape(c.room) + "/event/" + url.PathEscape(root))
		Eventually(ctx, func() (any, error) {
			var e struct {
				Unsigned struct {
					Relations map[string]struct {
						Count        int
						Participated bool `json:"current_user_participated"`
						Latest       struct {
							ID       string `json:"event_id"`
							Unsigned struct {
								Relations map[string]json.RawMessage `json:"m.relations"`
							}
						} `json:"latest_event"`
					} `json:"m.relations"`
				}
			}
			err := u.Call(ctx, "GET", path, nil, nil, &e)
			thread := e.Unsigned.Relations["m.thread"]
			return []any{thread.Count, thread.Participated, thread.Latest.ID, len(thread.Latest.Unsigned.Relations)}, err
		}).WithTimeout(patience).Should(Equal([]any{1, true, reply, 1}))
		var children struct{ Chunk []user.Event }
		Expect(u.Call(ctx, "GET", clientV1("/rooms/"+url.PathEscape(c.room)+"/relations/"+url.PathEscape(root)+"/m.thread"), nil, nil, &children)).To(Succeed())
		Expect(children.Chunk).To(HaveLen(1))
	}
}

// found: who shares a room is in the user directory.
func found(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	ask(ctx, alice, "PUT", clientV3("/profile/"+url.PathEscape(alice.ID)+"/displayname"), nil, object{"displayname": "Quetzal"})
	room := create(ctx, alice, nil)
	_, err := bob.Join(ctx, room, d.home())
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, func() (string, error) {
		var answer struct {
			Results []struct {
				UserID string `json:"user_id"`
				Name   string `json:"display_name"`
			}
		}
		err := bob.Call(ctx, "POST", clientV3("/user_directory/search"), nil, object{"search_term": "quetz"}, &answer)
		for _, r := range answer.Results {
			if r.UserID == alice.ID {
				return r.Name, err
			}
		}
		return "", err
	}).WithTimeout(patience).Should(Equal("Quetzal"))
}

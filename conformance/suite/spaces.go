package suite

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

var _ = Describe("Spaces", Label("s2s:spaces"), func() {
	const section = "server-server-api#get_matrixfederationv1hierarchyroomid"

	// space makes a space of alice's over a room.
	space := func(ctx context.Context, child id.RoomID, options map[string]any) id.RoomID {
		GinkgoHelper()
		all := map[string]any{"name": "A space", "creation_content": map[string]any{"type": "m.space"}}
		for name, value := range options {
			all[name] = value
		}
		roomID := roomOfAlice(ctx, mainVersion, all)
		_, err := alice.SetState(ctx, string(roomID), "m.space.child", string(child), map[string]any{"via": []any{home}})
		Expect(err).NotTo(HaveOccurred())
		return roomID
	}
	type hierarchy struct {
		Room struct {
			RoomID   id.RoomID        `json:"room_id"`
			Children []map[string]any `json:"children_state"`
		} `json:"room"`
		Children []struct {
			RoomID id.RoomID `json:"room_id"`
		} `json:"children"`
		Inaccessible []id.RoomID `json:"inaccessible_children"`
	}

	It("are shown to other servers, as far as they may see",
		says(section, "Federation version of the Client-Server GET /hierarchy endpoint. Unlike the Client-Server API version, this endpoint does not paginate."),
		says("server-server-api#spaces", "To complement the Client-Server API's Spaces module, homeservers need a way to query information about spaces from other servers."), func(ctx SpecContext) {
			p := newPeer()
			open := roomOfAlice(ctx, mainVersion, map[string]any{"name": "Open"})
			closed := roomOfAlice(ctx, mainVersion, map[string]any{"name": "Closed", "preset": "private_chat"})
			roomID := space(ctx, open, nil)
			_, err := alice.SetState(ctx, string(roomID), "m.space.child", string(closed), map[string]any{"via": []any{home}})
			Expect(err).NotTo(HaveOccurred())
			var answer hierarchy
			Expect(askBy(ctx, p, http.MethodGet, "hierarchy/"+url.PathEscape(string(roomID)), nil, &answer)).To(Equal(http.StatusOK))
			Expect(answer.Room.RoomID).To(Equal(roomID))
			Expect(answer.Room.Children).To(HaveLen(2))
			Expect(answer.Children).To(HaveLen(1))
			Expect(answer.Children[0].RoomID).To(Equal(open))
			Expect(answer.Inaccessible).To(ConsistOf(closed))
		})

	It("that are closed are not shown",
		says(section, "404: The room is not known to the server or the requesting server is unable to peek/join it (if it were to attempt this)."), func(ctx SpecContext) {
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"preset": "private_chat"})
			Expect(askBy(ctx, newPeer(), http.MethodGet, "hierarchy/"+url.PathEscape(string(roomID)), nil, nil)).To(Equal(http.StatusNotFound))
		})

	It("of other servers are shown to users here",
		says("client-server-api#get_matrixclientv1roomsroomidhierarchy", "Paginates over the space tree in a depth-first manner to locate child rooms of a given space."), func(ctx SpecContext) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			p.On("hierarchy", peer.Answer(http.StatusOK, fmt.Sprintf(`{"room":{"room_id":%q,"name":"Far away","num_joined_members":1,"world_readable":false,"guest_can_join":false,"join_rule":"public","children_state":[]},"children":[],"inaccessible_children":[]}`, room.ID)))
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"creation_content": map[string]any{"type": "m.space"}})
			_, err = alice.SetState(ctx, string(roomID), "m.space.child", string(room.ID), map[string]any{"via": []any{p.Name}})
			Expect(err).NotTo(HaveOccurred())
			var answer struct {
				Rooms []struct {
					RoomID id.RoomID `json:"room_id"`
					Name   string    `json:"name"`
				} `json:"rooms"`
			}
			Expect(alice.Call(ctx, http.MethodGet, "/_matrix/client/v1/rooms/"+url.PathEscape(string(roomID))+"/hierarchy", nil, nil, &answer)).To(Succeed())
			Expect(answer.Rooms).To(HaveLen(2))
			Expect(answer.Rooms[1].RoomID).To(Equal(room.ID))
			Expect(answer.Rooms[1].Name).To(Equal("Far away"))
		})
})

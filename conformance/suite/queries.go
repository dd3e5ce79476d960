package suite

import (
	"context"
	"net/http"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/testnet/peer"
)

func yesterday() time.Time { return time.Now().Add(-24 * time.Hour) }

// profileOf asks the server under test, as a client, for a user's profile.
func profileOf(ctx context.Context, of id.UserID) (map[string]any, error) {
	var profile map[string]any
	err := alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/profile/"+url.PathEscape(string(of)), nil, nil, &profile)
	return profile, err
}

// refusedWith matches the error of a peer's call that was answered with a status and a code.
func refusedWith(status int, code string) OmegaMatcher {
	return WithTransform(func(err error) string {
		failure, ok := err.(*client.Error)
		if !ok || failure.Matrix == nil {
			return "no refusal: " + errorText(err)
		}
		return http.StatusText(failure.Status) + " " + failure.Matrix.Code
	}, Equal(http.StatusText(status)+" "+code))
}

// refused matches the error of a peer's call that was answered with any 4xx.
func refused() OmegaMatcher {
	const refusal = "a refusal"
	return WithTransform(func(err error) string {
		if status := refusedStatus(err); status >= 400 && status < 500 {
			return refusal
		}
		return "no refusal with 4xx: " + errorText(err)
	}, Equal(refusal))
}

func errorText(err error) string {
	if err == nil {
		return "it was taken"
	}
	return err.Error()
}

var _ = Describe("Queries", Label("s2s:queries"), func() {
	const section = "server-server-api#querying-for-information"

	It("answers for the profiles of its users",
		says(section, "Performs a query to get profile information, such as a display name or avatar, for a given user."), func(ctx SpecContext) {
			p := newPeer()
			carol := sut.newUser(ctx)
			path := "/_matrix/client/v3/profile/" + url.PathEscape(carol.ID)
			Expect(carol.Call(ctx, http.MethodPut, path+"/displayname", nil, map[string]any{"displayname": "Carol"}, nil)).To(Succeed())
			Expect(carol.Call(ctx, http.MethodPut, path+"/avatar_url", nil, map[string]any{"avatar_url": "mxc://" + string(home) + "/carol"}, nil)).To(Succeed())

			profile, err := p.Client.QueryProfile(ctx, sut.name, id.UserID(carol.ID), "")
			Expect(err).NotTo(HaveOccurred())
			Expect(profile.Text("displayname")).To(Equal("Carol"))
			Expect(profile.Text("avatar_url")).To(Equal("mxc://" + string(home) + "/carol"))
			profile, err = p.Client.QueryProfile(ctx, sut.name, id.UserID(carol.ID), "displayname")
			Expect(err).NotTo(HaveOccurred())
			Expect(profile.Text("displayname")).To(Equal("Carol"))
			Expect(profile).NotTo(HaveKey("avatar_url"))
			_, err = p.Client.QueryProfile(ctx, sut.name, id.UserID("@nobody:"+string(home)), "")
			Expect(err).To(refusedWith(http.StatusNotFound, "M_NOT_FOUND"))
		})

	It("knows which fields a profile doesn't have",
		says("server-server-api#get_matrixfederationv1queryprofile", "404: The user does not exist, does not have a profile or the queried field does not exist."), func(ctx SpecContext) {
			_, err := newPeer().Client.QueryProfile(ctx, sut.name, id.UserID(sut.newUser(ctx).ID), "org.example.unset")
			Expect(err).To(refusedWith(http.StatusNotFound, "M_NOT_FOUND"))
		})

	It("asks other servers for the profiles of theirs",
		says(section, "Servers may wish to cache the response to this query to avoid requesting the information too often."), func(ctx SpecContext) {
			p := newPeer()
			p.SetProfile(p.User("bob"), peer.Profile{DisplayName: "Bob", AvatarURL: "mxc://peer/bob"})
			Expect(profileOf(ctx, p.User("bob"))).To(And(HaveKeyWithValue("displayname", "Bob"), HaveKeyWithValue("avatar_url", "mxc://peer/bob")))
			_, err := profileOf(ctx, p.User("nobody"))
			Expect(status(err)).To(Equal(http.StatusNotFound), "%s", errorText(err))
		})

	It("answers where its aliases lead",
		says(section, "Performs a query to get the mapped room ID and list of resident homeservers in the room for a given room alias."), func(ctx SpecContext) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"room_alias_name": "queried"})
			answer, err := p.Client.QueryDirectory(ctx, sut.name, id.RoomAlias("#queried:"+string(home)))
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.RoomID).To(Equal(roomID))
			Expect(answer.Servers).To(ContainElement(sut.name))
			_, err = p.Client.QueryDirectory(ctx, sut.name, id.RoomAlias("#nothing:"+string(home)))
			Expect(err).To(refusedWith(http.StatusNotFound, "M_NOT_FOUND"))
			answer2, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/query/directory"})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer2.Status).To(Equal(http.StatusBadRequest), "no room_alias: %s", answer2)
		})

	It("follows the aliases of other servers",
		says(section, "Homeservers should only query room aliases that belong to the target server (identified by the server name in the alias)."), func(ctx SpecContext) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			p.SetAlias(id.RoomAlias("#harbour:"+string(p.Name)), room.ID)
			joined, err := alice.Join(ctx, "#harbour:"+string(p.Name))
			Expect(err).NotTo(HaveOccurred())
			Expect(joined).To(Equal(string(room.ID)))
		})

	It("publishes its public rooms",
		says("server-server-api#published-room-directory", "Lists the server's published room directory."), func(ctx SpecContext) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"visibility": "public", "name": "A room for everybody"})
			answer, err := p.Client.PublicRooms(ctx, sut.name, listAll())
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Chunk).To(ContainElement(Satisfy(func(r federation.PublicRoom) bool {
				return r.RoomID == roomID && r.Name == "A room for everybody" && r.NumJoinedMembers == 1
			})))
		})

	It("tells its name and version", Label(LabelDeployed),
		says("server-server-api#server-implementation", "Get the implementation name and version of this homeserver."), func(ctx SpecContext) {
			answer, err := asker().Client.Version(ctx, sut.name)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Server.Name).NotTo(BeEmpty())
		})

	DescribeTable("what it doesn't know is answered as the specification says", Label(LabelDeployed),
		says("server-server-api#unsupported-endpoints", "If a request for an unsupported (or unknown) endpoint is received then the server must respond with a 404 M_UNRECOGNIZED error. Similarly, a 405 M_UNRECOGNIZED error is used to denote an unsupported method to a known endpoint."), func(ctx SpecContext, method, uri string, want int) {
			answer, err := asker().Do(ctx, sut.name, peer.ByHand{Method: method, URI: uri, Authorization: []string{}})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(want), "%s", answer.String())
			Expect(answer.Code()).To(Equal("M_UNRECOGNIZED"))
		},
		Entry("an unknown endpoint", http.MethodGet, "/_matrix/federation/v1/nonsense", http.StatusNotFound),
		Entry("an unknown version", http.MethodGet, "/_matrix/federation/v9/version", http.StatusNotFound),
		Entry("another method", http.MethodDelete, "/_matrix/federation/v1/version", http.StatusMethodNotAllowed),
	)
})

func listAll() federation.PublicRoomsRequest { return federation.PublicRoomsRequest{Limit: 1000} }

// refusedStatus is the status by which a peer's call was refused; 0 where it was not.
func refusedStatus(err error) int {
	if failure, ok := err.(*client.Error); ok {
		return failure.Status
	}
	return 0
}

package suite

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// clientRequest makes a request whose body or answer is no JSON.
func clientRequest(ctx context.Context, u *user.User, method, path, contentType, body string) (int, http.Header, string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, method, sut.clientURL+path, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Authorization", "Bearer "+u.Token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	Expect(err).NotTo(HaveOccurred())
	calls.note(fmt.Sprintf("%s asked %s %s\n  got  %d %.300s", u.ID, method, path, response.StatusCode, answer))
	return response.StatusCode, response.Header, string(answer)
}

// uploaded is the media ID of a text that alice uploads.
func uploaded(ctx context.Context, text string) string {
	GinkgoHelper()
	status, _, answer := clientRequest(ctx, alice, http.MethodPost, "/_matrix/media/v3/upload?filename=note.txt", "text/plain", text)
	Expect(status).To(Equal(http.StatusOK), answer)
	_, rest, ok := strings.Cut(answer, "mxc://"+string(home)+"/")
	Expect(ok).To(BeTrue(), answer)
	mediaID, _, _ := strings.Cut(rest, `"`)
	return mediaID
}

// mediaParts is an answer of the other servers' media endpoints, as a script of a peer gives it.
func mediaParts(contentType, data string) peer.Hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "multipart/mixed; boundary=parts")
		_, _ = io.WriteString(w, "--parts\r\nContent-Type: application/json\r\n\r\n{}\r\n--parts\r\nContent-Type: "+contentType+"\r\n\r\n"+data+"\r\n--parts--\r\n")
	}
}

var _ = Describe("Media", Label("s2s:media"), func() {
	const section = "server-server-api#content-repository"

	It("is given to other servers",
		says("server-server-api#get_matrixfederationv1mediadownloadmediaid", "The response is multipart/mixed: a JSON object, then the content."), func(ctx SpecContext) {
			mediaID := uploaded(ctx, "a note")
			answer, err := newPeer().Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/download/" + url.PathEscape(mediaID)})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), answer.String())
			kind, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
			Expect(err).NotTo(HaveOccurred())
			Expect(kind).To(Equal("multipart/mixed"))
			parts := multipart.NewReader(strings.NewReader(string(answer.Body)), parameters["boundary"])
			first, err := parts.NextPart()
			Expect(err).NotTo(HaveOccurred())
			Expect(first.Header.Get("Content-Type")).To(HavePrefix("application/json"))
			Expect(io.ReadAll(first)).To(MatchJSON(`{}`))
			second, err := parts.NextPart()
			Expect(err).NotTo(HaveOccurred())
			Expect(second.Header.Get("Content-Type")).To(HavePrefix("text/plain"))
			Expect(io.ReadAll(second)).To(Equal([]byte("a note")))
			_, err = parts.NextPart()
			Expect(err).To(Equal(io.EOF), "two parts")
		})

	It("is not given where there is none, nor without a signature",
		says(section, "Attachments to events (images, files, etc) are uploaded to a homeserver via the Content Repository module of the Client-Server API."), func(ctx SpecContext) {
			p := newPeer()
			for _, endpoint := range []string{"download/nothing", "thumbnail/nothing?width=10&height=10"} {
				answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/" + endpoint})
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(Equal(http.StatusNotFound), answer.String())
			}
			answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/download/" + uploaded(ctx, "secret"), Authorization: []string{}})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), answer.String())
		})

	It("of other servers is fetched for users here",
		says(section, "Servers MUST use the server described in the Matrix Content URI."), func(ctx SpecContext) {
			p := newPeer()
			p.On("media_download", mediaParts("text/plain", "from afar"))
			path := "/_matrix/client/v1/media/download/" + url.PathEscape(string(p.Name)) + "/far"
			status, header, text := clientRequest(ctx, alice, http.MethodGet, path, "", "")
			Expect(status).To(Equal(http.StatusOK), text)
			Expect(text).To(Equal("from afar"))
			Expect(header.Get("Content-Type")).To(HavePrefix("text/plain"))
			Expect(p.Requests("media_download")[0].AuthErr).NotTo(HaveOccurred())
			p.On("media_download", peer.Fail(http.StatusNotFound, "M_NOT_FOUND"))
			status, _, text = clientRequest(ctx, alice, http.MethodGet, strings.Replace(path, "/far", "/nothing", 1), "", "")
			Expect(status).To(Equal(http.StatusNotFound), text)
		})

	DescribeTable("an answer that is no media is not passed on",
		follows("server-server-api#get_matrixfederationv1mediadownloadmediaid", "the client gets media or an error"), func(ctx SpecContext, hook peer.Hook) {
			p := newPeer()
			p.On("media_download", hook)
			status, _, text := clientRequest(ctx, alice, http.MethodGet, "/_matrix/client/v1/media/download/"+url.PathEscape(string(p.Name))+"/odd", "", "")
			Expect(status).To(BeNumerically(">=", 400), text)
		},
		Entry("plain JSON", peer.Answer(http.StatusOK, `{}`)),
		Entry("no second part", peer.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "multipart/mixed; boundary=parts")
			_, _ = io.WriteString(w, "--parts\r\nContent-Type: application/json\r\n\r\n{}\r\n--parts--\r\n")
		})),
		Entry("an error", peer.Fail(http.StatusInternalServerError, "M_UNKNOWN")),
	)
})

var _ = Describe("OpenID", Label("s2s:openid"), func() {
	const section = "server-server-api#openid"

	It("a token that a user got tells who it is, and no other",
		says(section, "Third-party services can exchange an access token previously generated by the Client-Server API for information about a user."), func(ctx SpecContext) {
			p := newPeer()
			var token struct {
				Token  string `json:"access_token"`
				Server string `json:"matrix_server_name"`
			}
			path := "/_matrix/client/v3/user/" + url.PathEscape(alice.ID) + "/openid/request_token"
			Expect(alice.Call(ctx, http.MethodPost, path, nil, map[string]any{}, &token)).To(Succeed())
			Expect(token.Server).To(Equal(string(home)))
			answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/openid/userinfo?access_token=" + url.QueryEscape(token.Token), Authorization: []string{}})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), answer.String())
			Expect(answer.Body).To(MatchJSON(`{"sub":"` + alice.ID + `"}`))
			for _, wrong := range []string{"nonsense", alice.Token} {
				answer, err = p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/openid/userinfo?access_token=" + url.QueryEscape(wrong), Authorization: []string{}})
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(Equal(http.StatusUnauthorized), answer.String())
			}
		})

	It("a token for another user is not given",
		says("client-server-api#post_matrixclientv3useruseridopenidrequest_token", "userId: The user to request an OpenID token for. Should be the user who is authenticated for the request."), func(ctx SpecContext) {
			carol := sut.newUser(ctx)
			err := alice.Call(ctx, http.MethodPost, "/_matrix/client/v3/user/"+url.PathEscape(carol.ID)+"/openid/request_token", nil, map[string]any{}, nil)
			Expect(status(err)).To(Equal(http.StatusForbidden), errorText(err))
		})
})

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

package clientapi

import (
	"cmp"
	"net/http"
	"slices"

	"hanse/federation/id"
)

// mutualRoomsFeature is MSC2666 before it was in the specification: matrix-js-sdk 43 asks only servers that name it, and only its path.
const mutualRoomsFeature = "uk.half-shot.msc2666.query_mutual_rooms"

func (a *API) mutualRoomsRoutes() []route {
	return []route{
		{http.MethodGet, "/mutual_rooms", v1, withUser, ordinary, a.mutualRooms},
		{http.MethodGet, "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms", unversioned, withUser, ordinary, a.mutualRooms},
	}
}

// mutualRooms lists the rooms that the user shares with another.
//
// spec:client-server-api#get_matrixclientv1mutual_rooms
func (a *API) mutualRooms(r *request) (any, error) {
	query := r.URL.Query()
	if query.Get("user_id") == "" {
		return nil, missingParam("user_id")
	}
	user, err := id.ParseUserID(query.Get("user_id"))
	switch {
	case err != nil:
		return nil, invalidParam("%q is not a user ID", query.Get("user_id"))
	case user == r.user:
		return nil, invalidParam("you share all your rooms with yourself")
	}
	shared, err := a.config.Users.SharedRooms(r.Context(), r.user, user)
	if err != nil {
		return nil, err
	}
	return mutualRoomsPage(shared, cmp.Or(query.Get("from"), query.Get("batch_token")))
}

// mutualRoomsAnswer is a page of the rooms that two users share. Its tokens are one: the second name is MSC2666's, as clients that ask its
// path read it, where the specification's are others.
type mutualRoomsAnswer struct {
	Joined         []id.RoomID `json:"joined"`
	Count          int         `json:"count"`
	NextBatch      id.RoomID   `json:"next_batch,omitempty"`
	NextBatchToken id.RoomID   `json:"next_batch_token,omitempty"`
}

// mutualRoomsPage is the page of the rooms, which are sorted, that begins behind the room that the token names.
func mutualRoomsPage(shared []id.RoomID, from string) (*mutualRoomsAnswer, error) {
	joined := append([]id.RoomID{}, shared...)
	if from != "" {
		after, err := id.ParseRoomID(from)
		if err != nil {
			return nil, invalidParam("%q is not a token of this server", from)
		}
		at, found := slices.BinarySearch(joined, after)
		if found {
			at++
		}
		joined = joined[at:]
	}
	answer := &mutualRoomsAnswer{Joined: joined, Count: len(shared)}
	if len(joined) > maxMutualRooms {
		answer.Joined = joined[:maxMutualRooms]
		answer.NextBatch = joined[maxMutualRooms-1]
		answer.NextBatchToken = answer.NextBatch
	}
	return answer, nil
}

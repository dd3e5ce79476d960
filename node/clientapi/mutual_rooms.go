package clientapi

import (
	"net/http"
	"slices"

	"hanse/federation/id"
)

func (a *API) mutualRoomsRoutes() []route {
	return []route{{http.MethodGet, "/mutual_rooms", v1, withUser, ordinary, a.mutualRooms}}
}

// mutualRooms lists the rooms that the user shares with another. A page begins behind the room that the token names.
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
	joined := append([]id.RoomID{}, shared...)
	if from := query.Get("from"); from != "" {
		after, err := id.ParseRoomID(from)
		if err != nil {
			return nil, invalidParam("from is not a token of this server")
		}
		at, found := slices.BinarySearch(joined, after)
		if found {
			at++
		}
		joined = joined[at:]
	}
	answer := map[string]any{"count": len(shared)}
	if len(joined) > maxMutualRooms {
		joined = joined[:maxMutualRooms]
		answer["next_batch"] = joined[maxMutualRooms-1]
	}
	answer["joined"] = joined
	return answer, nil
}

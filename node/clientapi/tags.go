package clientapi

import (
	"encoding/json"
	"net/http"
)

// tagType is the account data of a room that holds its tags.
const tagType = "m.tag"

func (a *API) tagRoutes() []route {
	return []route{
		{http.MethodGet, "/user/{userId}/rooms/{roomId}/tags", stable, withUser, ordinary, a.tags},
		{http.MethodPut, "/user/{userId}/rooms/{roomId}/tags/{tag}", stable, withUser, ordinary, a.setTag},
		{http.MethodDelete, "/user/{userId}/rooms/{roomId}/tags/{tag}", stable, withUser, ordinary, a.deleteTag},
	}
}

// spec:client-server-api#get_matrixclientv3useruseridroomsroomidtags
func (a *API) tags(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	content, err := a.config.Users.AccountData(r.Context(), r.user, room, tagType)
	if isNotFound(err) {
		return map[string]any{"tags": map[string]any{}}, nil
	}
	return map[string]any{"tags": sets(content, "tags")}, err
}

// spec:client-server-api#put_matrixclientv3useruseridroomsroomidtagstag
func (a *API) setTag(r *request) (any, error) {
	content, err := r.object()
	if err != nil {
		return nil, err
	}
	var tag struct {
		Order *float64 `json:"order"`
	}
	if err := decodeObject(content, &tag); err != nil {
		return nil, err
	}
	return a.changeTags(r, func(tags map[string]json.RawMessage, name string) error {
		if _, there := tags[name]; !there && len(tags) >= maxTags {
			return invalidParam("a room has at most %d tags", maxTags)
		}
		tags[name] = content
		return nil
	})
}

// spec:client-server-api#delete_matrixclientv3useruseridroomsroomidtagstag
func (a *API) deleteTag(r *request) (any, error) {
	return a.changeTags(r, func(tags map[string]json.RawMessage, name string) error {
		delete(tags, name)
		return nil
	})
}

func (a *API) changeTags(r *request, change func(tags map[string]json.RawMessage, name string) error) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	name := r.PathValue("tag")
	if len(name) > maxTagBytes {
		return nil, invalidParam("a tag has at most %d bytes", maxTagBytes)
	}
	return nil, a.config.Users.UpdateAccountData(r.Context(), r.user, room, tagType, func(old json.RawMessage) (json.RawMessage, error) {
		tags := sets(old, "tags")
		if err := change(tags, name); err != nil {
			return nil, err
		}
		return marshal(map[string]any{"tags": tags})
	})
}

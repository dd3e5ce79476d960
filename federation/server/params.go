package server

import (
	"fmt"
	"strconv"

	"hanse/federation"
	"hanse/federation/id"
)

// Path and query parameters. What is missing or not of the right form is the peer's fault and said so.

func (q *request) roomID() (id.RoomID, error) {
	room, err := id.ParseRoomID(q.PathValue("roomID"))
	if err != nil {
		return "", federation.InvalidParam("the path has no valid room ID")
	}
	return room, nil
}

func (q *request) eventID() (id.EventID, error) {
	event, err := id.ParseEventID(q.PathValue("eventID"))
	if err != nil {
		return "", federation.InvalidParam("the path has no valid event ID")
	}
	return event, nil
}

func (q *request) userID() (id.UserID, error) {
	user, err := id.ParseUserID(q.PathValue("userID"))
	if err != nil {
		return "", federation.InvalidParam("the path has no valid user ID")
	}
	return user, nil
}

// text is a query parameter of free form; "" if it is missing.
func (q *request) text(name string) (string, error) {
	value := q.URL.Query().Get(name)
	if len(value) > maxParameter {
		return "", federation.InvalidParam(fmt.Sprintf("%s is longer than %d bytes", name, maxParameter))
	}
	return value, nil
}

// truth is a query parameter that is true or false; false if it is missing.
func (q *request) truth(name string) (bool, error) {
	text := q.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, federation.InvalidParam(name + " is neither true nor false")
	}
	return value, nil
}

// number is a query parameter that is not negative; ok is false if it is missing.
func (q *request) number(name string) (value int64, ok bool, err error) {
	text := q.URL.Query().Get(name)
	if text == "" {
		return 0, false, nil
	}
	value, err = strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 {
		return 0, false, federation.InvalidParam(name + " is not a number from 0 on")
	}
	return value, true, nil
}

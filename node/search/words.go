package search

import (
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/words"
)

// The keys of content that are searched. spec:client-server-api#search-categories
const (
	KeyBody  = "content.body"
	KeyName  = "content.name"
	KeyTopic = "content.topic"
)

// textOf is what is searched of an event, and the key that it stands under; "" where nothing is.
func textOf(e *event.Event) (key, text string) {
	get := func(name string) string {
		value, _ := canonicaljson.Get(e.Content(), name)
		text, _ := canonicaljson.String(value)
		return text
	}
	switch e.Type() {
	case "m.room.message":
		return KeyBody, get("body")
	case "m.room.name":
		return KeyName, get("name")
	case "m.room.topic":
		return KeyTopic, get("topic") + " " + plainTopic(e.Content())
	}
	return "", ""
}

// plainTopic is the text/plain representation in m.topic. spec:client-server-api#mroomtopic
func plainTopic(content []byte) string {
	topic, _ := canonicaljson.Get(content, "m.topic")
	texts, _ := canonicaljson.Get(topic, "m.text")
	for text := range canonicaljson.Elements(texts) {
		kind, given := canonicaljson.Get(text, "mimetype")
		name, _ := canonicaljson.String(kind)
		if given && name != "text/plain" {
			continue
		}
		body, _ := canonicaljson.Get(text, "body")
		plain, _ := canonicaljson.String(body)
		return plain
	}
	return ""
}

// wordsOf are the words that an event is found by, each once.
func wordsOf(e *event.Event) []string {
	_, text := textOf(e)
	return words.Distinct(words.Split(text), maxWords)
}

// namesOf are the words that somebody of another server is found by in the user directory. Our own users' are those of their
// profiles.
func (s *Search) namesOf(e *event.Event) (id.UserID, []string) {
	key, _ := e.StateKey()
	user, err := id.ParseUserID(key)
	if err != nil || user.Server() == s.self || e.Membership() != "join" {
		return "", nil
	}
	value, _ := canonicaljson.Get(e.Content(), "displayname")
	name, _ := canonicaljson.String(value)
	return user, words.Distinct(words.Split(user.Localpart()+" "+name), maxNameWords)
}

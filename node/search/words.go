package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
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
	return distinct(split(text), maxWords)
}

// split gives the words of a text, in lower case: letters, digits and marks in a row. The scripts that don't put blanks
// between words give one for each character. A long word is cut.
func split(text string) []string {
	var words []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for _, r := range text {
		switch {
		case r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.N, unicode.M):
			end()
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar):
			end()
			words = append(words, string(r))
		default:
			if r = unicode.ToLower(r); word.Len()+utf8.RuneLen(r) <= maxWordBytes {
				word.WriteRune(r)
			}
		}
	}
	end()
	return words
}

// distinct keeps the first of equal words, and at most so many.
func distinct(words []string, most int) []string {
	seen := make(map[string]bool, len(words))
	kept := words[:0]
	for _, word := range words {
		if !seen[word] && len(kept) < most {
			seen[word] = true
			kept = append(kept, word)
		}
	}
	return kept
}

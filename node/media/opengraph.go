package media

import (
	"io"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/charset"
)

// describe reads what a page says of itself: its OpenGraph properties, and in their place what the page says otherwise. Pages
// are full of faults; what is broken is left out.
func describe(page io.Reader, contentType string) map[string]string {
	fields := map[string]string{}
	decoded, err := charset.NewReader(io.LimitReader(page, maxPageBytes), contentType)
	if err != nil {
		return fields
	}
	fallback := map[string]string{}
	tokens := html.NewTokenizer(decoded)
	tokens.SetMaxBuf(maxTokenBytes)
	title := false
	for {
		switch tokens.Next() {
		case html.ErrorToken: // the end, of the page or of patience
			for _, key := range []string{"title", "description", "image", "site_name"} {
				if _, known := fields["og:"+key]; !known && fallback[key] != "" {
					fields["og:"+key] = fallback[key]
				}
			}
			return fields
		case html.StartTagToken, html.SelfClosingTagToken:
			tag, attributes := tokens.TagName()
			title = string(tag) == "title"
			if string(tag) == "meta" && attributes {
				note(fields, fallback, tokens)
			}
		case html.EndTagToken:
			title = false
		case html.TextToken:
			if title && fallback["title"] == "" {
				fallback["title"] = tidy(string(tokens.Text()))
			}
		}
	}
}

// note reads a meta tag.
func note(fields, fallback map[string]string, tokens *html.Tokenizer) {
	var name, content string
	for more := true; more; {
		var key, value []byte
		key, value, more = tokens.TagAttr()
		switch string(key) {
		case "property", "name":
			name = strings.ToLower(strings.TrimSpace(string(value)))
		case "content":
			content = tidy(string(value))
		}
	}
	if content == "" || len(name) > maxFieldName {
		return
	}
	first := func(of map[string]string, key string) {
		if _, known := of[key]; !known && len(of) < maxFields {
			of[key] = content
		}
	}
	switch {
	case name == "og:image:url" || name == "og:image:secure_url":
		first(fields, "og:image")
	case strings.HasPrefix(name, "og:"):
		first(fields, name)
	case name == "description", name == "twitter:description":
		first(fallback, "description")
	case name == "twitter:title":
		first(fallback, "title")
	case name == "twitter:image":
		first(fallback, "image")
	case name == "application-name":
		first(fallback, "site_name")
	}
}

// tidy is a text in one line, valid and not too long.
func tidy(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "")
	if len(text) > maxFieldBytes {
		text = strings.ToValidUTF8(text[:maxFieldBytes], "") + "…"
	}
	return text
}

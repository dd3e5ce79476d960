// Package spec is what the conformance suite keeps of the Matrix specification, 1.19: its sections, the sentences of the
// server-server text that oblige a server, its operations, and the form of each operation's answer (from the OpenAPI
// definitions, without their prose). pinned.json is made by `go test ./conformance/spec -spec FOLDER -rewrite` from a
// copy of the specification, and is under its Apache License 2.0; anchors.txt is doc/spec-anchors.txt.
package spec

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"
)

//go:embed anchors.txt
var anchorsText string

//go:embed pinned.json
var pinnedText []byte

// Section is a section of the server-server text, or of a room version's.
type Section struct {
	Anchor string   `json:"anchor"` // "server-server-api#tls"
	Title  string   `json:"title"`
	Musts  []string `json:"musts,omitempty"` // sentences with "must", in their order
}

// Operation is a request that the specification defines.
type Operation struct {
	Anchor string   `json:"anchor"` // "server-server-api#get_matrixkeyv2server"
	Method string   `json:"method"`
	Path   string   `json:"path"` // with {wildcards}
	Musts  []string `json:"musts,omitempty"`
	Answer *Schema  `json:"answer,omitempty"` // of the JSON that comes with 200; nil where that is no JSON
	// Refusals are the error codes by status that the definition names; none where it leaves them open. Only in Forms.
	Refusals map[string][]string `json:"refusals,omitempty"`
	Token    Token               `json:"token,omitempty"`   // whether an access token is wanted; only in Forms
	Query    []Parameter         `json:"query,omitempty"`   // only in Forms
	Request  *Schema             `json:"request,omitempty"` // of the JSON that is sent; nil where there is none; only in Forms
}

// Token says whether an operation wants an access token.
type Token string

const (
	NoToken   Token = ""
	MayToken  Token = "may"
	MustToken Token = "must"
)

// Parameter is a parameter in a query.
type Parameter struct {
	Name     string  `json:"name"`
	Required bool    `json:"required,omitempty"`
	Form     *Schema `json:"form,omitempty"`
}

type pinned struct {
	Version    string             `json:"version"`
	Sections   []Section          `json:"sections"`
	Operations []Operation        `json:"operations"`
	Events     map[string]*Schema `json:"events,omitempty"` // of events' contents, by type; only in Forms
	Schemas    map[string]*Schema `json:"schemas"`          // those that others refer to
}

var (
	read = sync.OnceValue(func() pinned {
		var p pinned
		if err := json.Unmarshal(pinnedText, &p); err != nil {
			panic(err) // the test of this package reads it too
		}
		return p
	})
	anchors = sync.OnceValue(func() map[string]bool {
		all := map[string]bool{}
		for line := range strings.Lines(anchorsText) {
			all[strings.TrimSpace(line)] = true
		}
		return all
	})
)

// Version is the version of the specification.
func Version() string { return read().Version }

// Has tells whether the specification has a section or an operation with this anchor.
func Has(anchor string) bool { return anchors()[anchor] }

// Sections are the sections of the server-server text, in its order.
func Sections() []Section { return read().Sections }

// Operations are the operations of the server-server and the client-server text.
func Operations() []Operation { return read().Operations }

// URL is where a section stands on the web.
func URL(anchor string) string {
	page, fragment, _ := strings.Cut(anchor, "#")
	return "https://spec.matrix.org/v" + Version() + "/" + page + "/#" + fragment
}

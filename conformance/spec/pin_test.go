package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	folder  = flag.String("spec", "", "a copy of the specification, to hold pinned.json and testdata/client.json against")
	rewrite = flag.Bool("rewrite", false, "write them anew from -spec")
)

// TestPinned holds pinned.json and testdata/client.json against a copy of the specification, where one is given.
func TestPinned(t *testing.T) {
	if *folder == "" {
		t.Skip("-spec names no copy of the specification")
	}
	p := pinner{schemas: map[string]*Schema{}, folder: *folder}
	made := pinned{Version: "1.19", Sections: p.sections(t), Schemas: p.schemas}
	for _, api := range []string{"server-server", "client-server"} {
		made.Operations = append(made.Operations, p.operations(t, api)...)
	}
	hold(t, "pinned.json", made)
	strict := pinner{schemas: map[string]*Schema{}, folder: *folder, strict: true}
	hold(t, clientForms, pinned{
		Version: "1.19", Operations: strict.operations(t, "client-server"), Events: strict.events(), Schemas: strict.schemas,
	})
}

const clientForms = "testdata/client.json"

// hold compares a file with what it should be, or writes it.
func hold(t *testing.T, file string, made pinned) {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(made); err != nil {
		t.Fatal(err)
	}
	lines := []byte(strings.NewReplacer(`},{"anchor"`, "},\n{\"anchor\"").Replace(text.String()))
	if *rewrite {
		if err := os.WriteFile(file, lines, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if there, err := os.ReadFile(file); err != nil || !bytes.Equal(lines, there) {
		t.Errorf("%s is not what this copy of the specification gives: -rewrite (%v)", file, err)
	}
}

type pinner struct {
	folder  string
	schemas map[string]*Schema
	strict  bool // with what Forms has and the suite doesn't
}

var (
	heading  = regexp.MustCompile(`^(#{2,6}) (.*?)(?: \{#([a-z0-9-]+)\})?$`)
	notWord  = regexp.MustCompile(`[^a-z0-9 _-]`)
	markdown = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)|\[([^\]]*)\]\[[^\]]*\]`)
	sentence = regexp.MustCompile(`([.!?:])\s+`)
	obliges  = regexp.MustCompile(`\b([Mm]ust|MUST|REQUIRED)\b`)
	operated = regexp.MustCompile(`[^a-z0-9_-]`)
)

// sections reads the headings of the server-server text and what obliges below each.
func (p pinner) sections(t *testing.T) []Section {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.folder, "content", "server-server-api.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sections []Section
	var body strings.Builder
	end := func() {
		if n := len(sections); n > 0 {
			sections[n-1].Musts = musts(body.String())
		}
		body.Reset()
	}
	code := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
		}
		match := heading.FindStringSubmatch(line)
		if match == nil || code {
			if !code && !strings.Contains(line, "{{%") {
				body.WriteString(line + "\n")
			}
			continue
		}
		end()
		anchor := match[3]
		if anchor == "" {
			anchor = strings.ReplaceAll(notWord.ReplaceAllString(strings.ToLower(match[2]), ""), " ", "-")
		}
		sections = append(sections, Section{Anchor: "server-server-api#" + anchor, Title: match[2]})
	}
	end()
	return sections
}

func musts(text string) []string {
	text = markdown.ReplaceAllString(text, "$1$2")
	var found []string
	for paragraph := range strings.SplitSeq(regexp.MustCompile(`\n\s*\n|\n\s*[*-] |\n\s*\d+\.\s`).ReplaceAllString(text, "\x00"), "\x00") {
		paragraph = strings.Join(strings.Fields(strings.NewReplacer("`", "", "**", "", "e.g. ", "e.g.\u00a0", "i.e. ", "i.e.\u00a0").Replace(paragraph)), " ")
		for one := range strings.SplitSeq(sentence.ReplaceAllString(paragraph, "$1\x00"), "\x00") {
			if obliges.MatchString(one) && !strings.HasPrefix(one, "<") && !strings.HasPrefix(one, "{{") {
				found = append(found, one)
			}
		}
	}
	return found
}

// operations reads the definitions of an API.
func (p pinner) operations(t *testing.T, api string) []Operation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.folder, "data", "api", api, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var operations []Operation
	for _, file := range files {
		document := p.load(file)
		base := basePath(document)
		paths, _ := document["paths"].(map[string]any)
		for path, methods := range paths {
			for method, definition := range methods.(map[string]any) {
				operation, ok := definition.(map[string]any)
				if !ok || !slices.Contains([]string{"get", "put", "post", "delete"}, method) {
					continue
				}
				full := base + path
				anchor := operated.ReplaceAllString(strings.ToLower(method+full), "")
				made := Operation{
					Anchor: api + "-api#" + anchor, Method: strings.ToUpper(method), Path: full,
					Answer: p.answer(operation, file),
				}
				if api == "server-server" {
					text, _ := operation["description"].(string)
					made.Musts = musts(text)
				}
				if p.strict {
					made.Refusals, made.Token = refusals(operation), token(operation)
					made.Query, made.Request = p.query(operation, file), p.request(operation, file)
				}
				operations = append(operations, made)
			}
		}
	}
	slices.SortFunc(operations, func(a, b Operation) int { return strings.Compare(a.Anchor+a.Path, b.Anchor+b.Path) })
	return operations
}

var errorCode = regexp.MustCompile(`\bM_[A-Z_]+`)

// refusals are the error codes that an operation's definition names in texts and examples, by status. Other statuses than
// 200 have none.
func refusals(operation map[string]any) map[string][]string {
	found := map[string][]string{}
	responses, _ := operation["responses"].(map[string]any)
	for status, response := range responses {
		if status == "200" {
			continue
		}
		response := response.(map[string]any)
		text, err := json.Marshal([]any{response["description"], response["content"]})
		if err != nil {
			panic(err)
		}
		codes := errorCode.FindAllString(string(text), -1)
		slices.Sort(codes)
		found[status] = slices.Compact(codes)
	}
	return found
}

func token(operation map[string]any) Token {
	ways, ok := operation["security"].([]any)
	if !ok {
		return NoToken
	}
	for _, way := range ways {
		way := way.(map[string]any)
		if way["accessTokenBearer"] == nil && way["appserviceAccessTokenBearer"] == nil { // nothing is needed, or by mistake as in another API
			return MayToken
		}
	}
	return MustToken
}

func (p pinner) query(operation map[string]any, file string) []Parameter {
	var found []Parameter
	parameters, _ := operation["parameters"].([]any)
	for _, one := range parameters {
		parameter := one.(map[string]any)
		if parameter["in"] != "query" {
			continue
		}
		required, _ := parameter["required"].(bool)
		found = append(found, Parameter{Name: parameter["name"].(string), Required: required, Form: p.sub(parameter["schema"], file)})
	}
	return found
}

func (p pinner) request(operation map[string]any, file string) *Schema {
	body, _ := operation["requestBody"].(map[string]any)
	return p.json(body, file)
}

// made are the types of the events that servers make.
var made = []string{
	"m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility", "m.room.guest_access",
	"m.room.tombstone", "m.room.canonical_alias", "m.presence", "m.receipt", "m.typing", "m.push_rules", "m.tag", "m.fully_read",
}

// events reads the definitions of the contents of the events that servers make.
func (p pinner) events() map[string]*Schema {
	contents := map[string]*Schema{}
	for _, kind := range made {
		file := filepath.Join(p.folder, "data", "event-schemas", "schema", kind+".yaml")
		properties, _ := p.load(file)["properties"].(map[string]any)
		contents[kind] = p.sub(properties["content"], file)
	}
	return contents
}

func basePath(document map[string]any) string {
	servers, _ := document["servers"].([]any)
	for _, server := range servers {
		server := server.(map[string]any)
		if variables, ok := server["variables"].(map[string]any); ok {
			if base, ok := variables["basePath"].(map[string]any); ok {
				return base["default"].(string)
			}
		}
	}
	return ""
}

func (p pinner) load(file string) map[string]any {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		panic(fmt.Errorf("%s: %w", file, err))
	}
	return document
}

func (p pinner) answer(operation map[string]any, file string) *Schema {
	responses, _ := operation["responses"].(map[string]any)
	good, ok := responses["200"].(map[string]any)
	if !ok {
		return nil
	}
	return p.json(good, file)
}

// json is the form of a body in JSON; nil where there is none.
func (p pinner) json(body map[string]any, file string) *Schema {
	content, _ := body["content"].(map[string]any)
	kind, _ := content["application/json"].(map[string]any)
	return p.sub(kind["schema"], file)
}

// schema makes the compact form. What is referred to becomes a schema with a name.
func (p pinner) schema(from map[string]any, file string) *Schema {
	if from == nil {
		return nil
	}
	if ref, ok := from["$ref"].(string); ok {
		return p.refer(ref, file)
	}
	s := &Schema{Items: p.sub(from["items"], file)}
	switch kind := from["type"].(type) {
	case string:
		s.Types = []string{kind}
	case []any:
		for _, one := range kind {
			s.Types = append(s.Types, one.(string))
		}
	}
	required, _ := from["required"].([]any)
	for _, one := range required {
		s.Required = append(s.Required, one.(string))
	}
	s.Enum, _ = from["enum"].([]any)
	if p.strict {
		s.Pattern, _ = from["pattern"].(string)
		if strings.HasPrefix(s.Pattern, "^mxc:") {
			s.Pattern += "|^$" // an avatar that isn't there: clients and servers know it as an empty text
		}
	}
	s.Properties, s.Patterns = p.subs(from["properties"], file), p.subs(from["patternProperties"], file)
	s.Others = p.sub(from["additionalProperties"], file)
	s.All = p.list(from["allOf"], file)
	s.Any = append(p.list(from["anyOf"], file), p.list(from["oneOf"], file)...)
	return s
}

func (p pinner) refer(ref, file string) *Schema {
	path, pointer, _ := strings.Cut(ref, "#")
	if unescaped, err := url.PathUnescape(path); err == nil {
		path = unescaped
	}
	target := file
	if path != "" {
		target = filepath.Join(filepath.Dir(file), path)
	}
	name, err := filepath.Rel(filepath.Join(p.folder, "data"), target)
	if err != nil {
		panic(err)
	}
	name = strings.TrimSuffix(filepath.ToSlash(name), ".yaml")
	if strings.HasPrefix(name, "api/identity/") {
		return &Schema{} // that API is not in the copy
	}
	if pointer != "" {
		name += "#" + pointer
	}
	if _, ok := p.schemas[name]; !ok {
		p.schemas[name] = &Schema{} // for schemas that contain themselves
		var node any = p.load(target)
		for step := range strings.SplitSeq(strings.Trim(pointer, "/"), "/") {
			if step != "" {
				node = node.(map[string]any)[step]
			}
		}
		*p.schemas[name] = *p.schema(node.(map[string]any), target)
	}
	return &Schema{Ref: name}
}

func (p pinner) sub(from any, file string) *Schema {
	schema, ok := from.(map[string]any)
	if !ok {
		return nil
	}
	return p.schema(schema, file)
}

func (p pinner) subs(from any, file string) map[string]*Schema {
	members, _ := from.(map[string]any)
	if len(members) == 0 {
		return nil
	}
	made := map[string]*Schema{}
	for name, one := range members {
		made[name] = p.sub(one, file)
	}
	return made
}

func (p pinner) list(from any, file string) []*Schema {
	list, _ := from.([]any)
	var made []*Schema
	for _, one := range list {
		made = append(made, p.sub(one, file))
	}
	return made
}

// TestPinnedIsWhole reads pinned.json as the suite does.
func TestPinnedIsWhole(t *testing.T) {
	p := read()
	if len(p.Sections) < 40 || len(p.Operations) < 200 || len(p.Schemas) < 40 {
		t.Fatalf("%d sections, %d operations, %d schemas", len(p.Sections), len(p.Operations), len(p.Schemas))
	}
	for _, s := range p.Sections {
		if !Has(s.Anchor) {
			t.Errorf("no anchor %s", s.Anchor)
		}
	}
	for _, operation := range p.Operations {
		if !Has(operation.Anchor) {
			t.Errorf("no anchor %s", operation.Anchor)
		}
		walk(t, operation.Answer)
	}
	for _, s := range p.Schemas {
		walk(t, s)
	}
	ours, err := os.ReadFile(filepath.Join("..", "..", "doc", "spec-anchors.txt"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err == nil && string(ours) != anchorsText {
		t.Error("anchors.txt is not doc/spec-anchors.txt")
	}
}

func walk(t *testing.T, s *Schema) {
	t.Helper()
	if s == nil {
		return
	}
	if s.Ref != "" && read().Schemas[s.Ref] == nil {
		t.Errorf("no schema %s", s.Ref)
	}
	for pattern, one := range s.Patterns {
		if _, err := regexp.Compile(pattern); err != nil {
			t.Error(err)
		}
		walk(t, one)
	}
	for _, one := range s.Properties {
		walk(t, one)
	}
	for _, one := range slices.Concat(s.All, s.Any, []*Schema{s.Items, s.Others}) {
		walk(t, one)
	}
}

func TestAnswersAreChecked(t *testing.T) {
	const sync, room = "/_matrix/client/v3/sync?timeout=0", "/_matrix/client/v3/rooms/!a:b/members"
	for _, c := range []struct {
		name, method, path, body string
		good                     bool
	}{
		{"a sync", "GET", sync, `{"next_batch":"s1"}`, true},
		{"a sync without next_batch", "GET", sync, `{"rooms":{}}`, false},
		{"a sync whose next_batch is a number", "GET", sync, `{"next_batch":1}`, false},
		{"rooms that are a list", "GET", sync, `{"next_batch":"s1","rooms":[]}`, false},
		{"an event without a sender", "GET", room, `{"chunk":[{"type":"m.room.member","state_key":"@a:b","event_id":"$x","room_id":"!a:b","origin_server_ts":1,"content":{"membership":"join"}}]}`, false},
		{"an event", "GET", room, `{"chunk":[{"type":"m.room.member","state_key":"@a:b","sender":"@a:b","event_id":"$x","room_id":"!a:b","origin_server_ts":1,"content":{"membership":"join"}}]}`, true},
		{"a time that is a fraction", "GET", room, `{"chunk":[{"type":"m.room.member","state_key":"@a:b","sender":"@a:b","event_id":"$x","room_id":"!a:b","origin_server_ts":1.5,"content":{"membership":"join"}}]}`, false},
		{"what is not defined", "GET", "/_matrix/client/v3/nonsense", `[]`, true},
	} {
		if err := CheckAnswer(c.method, c.path, 200, []byte(c.body)); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestForms(t *testing.T) {
	text, err := os.ReadFile(clientForms)
	if err != nil {
		t.Fatal(err)
	}
	forms, err := ReadForms(text)
	if err != nil {
		t.Fatal(err)
	}
	const room = "/_matrix/client/v3/rooms/!a:b"
	const member = `{"chunk":[{"type":"m.room.member","state_key":"@a:b","sender":"@a:b","event_id":"$x","room_id":"!a:b","origin_server_ts":1,"content":{"membership":%q}}]}`
	for _, c := range []struct {
		name, method, path string
		status             int
		body               string
		good               bool
	}{
		{"an error of the operation", "POST", "/_matrix/client/v3/createRoom", 400, `{"errcode":"M_ROOM_IN_USE"}`, true},
		{"one of another", "POST", "/_matrix/client/v3/createRoom", 400, `{"errcode":"M_BAD_ALIAS"}`, false},
		{"a common error", "POST", room + "/join", 400, `{"errcode":"M_NOT_JSON"}`, true},
		{"a code under a wrong status", "POST", room + "/join", 400, `{"errcode":"M_FORBIDDEN"}`, false},
		{"an error without a code", "POST", room + "/join", 400, `{}`, false},
		{"stages of authentication", "POST", "/_matrix/client/v3/account/password", 401, `{"flows":[]}`, true},
		{"stages where there are none", "GET", "/_matrix/client/v3/sync", 401, `{"flows":[]}`, false},
		{"a status that is not defined", "GET", "/_matrix/client/v3/sync", 201, `{"next_batch":"s1"}`, false},
		{"a room ID", "POST", "/_matrix/client/v3/createRoom", 200, `{"room_id":"!a"}`, true},
		{"no room ID", "POST", "/_matrix/client/v3/createRoom", 200, `{"room_id":"a"}`, false},
		{"a member", "GET", room + "/members", 200, fmt.Sprintf(member, "join"), true},
		{"a member of an unknown kind", "GET", room + "/members", 200, fmt.Sprintf(member, "visit"), false},
	} {
		if err := forms.Check(c.method, c.path, c.status, []byte(c.body)); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

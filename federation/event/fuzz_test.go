package event

import (
	"bytes"
	"encoding/json"
	"testing"

	"hanse/federation/canonicaljson"
	"hanse/federation/roomversion"
)

func seeds(f *testing.F) {
	var redactions []redactionVector
	readJSON(f, "redactions.json", &redactions)
	for _, v := range redactions {
		f.Add([]byte(v.Event))
	}
	var signing signingVectors
	readJSON(f, "signing.json", &signing)
	for _, v := range signing.Cases {
		f.Add([]byte(v.Signed))
	}
	for _, rules := range roomversion.All() {
		f.Add(text(valid(rules)))
	}
	for name := range examples {
		var raw json.RawMessage
		readJSON(f, "examples/"+name, &raw)
		f.Add([]byte(raw))
	}
	_, raw := typical(f)
	f.Add(raw)
}

// FuzzParse: what parses in a room version is a fixpoint, survives its redaction, and can be
// loaded again.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, rules := range roomversion.All() {
			e, err := Parse(rules, raw)
			if err != nil {
				continue
			}
			checkEvent(t, e)
			e.Signatures()
			e.RequiredSigners()
			if s := Stripped(e); !json.Valid(s) {
				t.Fatalf("stripped %s", s)
			}
			signed, err := e.CoSign("domain", vectorKey(t))
			if err == nil && (signed.ID() != e.ID() || len(signed.SignaturesOf("domain")) == 0) {
				t.Fatalf("%s became %s", e.JSON(), signed.JSON())
			}
		}
	})
}

// FuzzParseDraft: what is taken for a template makes the same template again, and can be
// signed unless it becomes too large.
func FuzzParseDraft(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, rules := range roomversion.All() {
			d, err := ParseDraft(rules, raw)
			if err != nil {
				continue
			}
			template, err := d.Template(rules, "")
			if err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			again, err := ParseDraft(rules, template)
			if err != nil {
				t.Fatalf("%s: %v", template, err)
			}
			if twice, err := again.Template(rules, ""); err != nil || !bytes.Equal(template, twice) {
				t.Fatalf("%s became %s, %v", template, twice, err)
			}
			e, err := d.Sign(rules, "domain", vectorKey(t))
			if err != nil {
				if len(template) < MaxSize/2 {
					t.Fatalf("%s: %v", template, err)
				}
				continue
			}
			if got, _ := canonicaljson.Get(template, "content"); !e.ContentHashMatches() || !bytes.Equal(e.Content(), got) {
				t.Fatalf("%s became %s", template, e.JSON())
			}
		}
	})
}

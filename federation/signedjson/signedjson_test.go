package signedjson

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
)

type vectors struct {
	Seed       string   `json:"seed"`
	ServerName string   `json:"server_name"`
	KeyID      id.KeyID `json:"key_id"`
	Cases      []struct {
		Name           string
		Object, Signed json.RawMessage
	}
}

func readVectors(t testing.TB) (vectors, Key) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	seed, err := DecodeBase64(v.Seed)
	if err != nil {
		t.Fatal(err)
	}
	return v, Key{ID: v.KeyID, Private: ed25519.NewKeyFromSeed(seed)}
}

// spec:appendices#json-signing
func TestVectors(t *testing.T) {
	v, key := readVectors(t)
	for _, c := range v.Cases {
		want, err := canonicaljson.Append(nil, c.Signed, canonicaljson.Strict)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Sign(c.Object, v.ServerName, key)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: got %s, %v", c.Name, got, err)
			continue
		}
		if err := Verify(got, v.ServerName, v.KeyID, key.Public()); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		signatures, err := Signatures(got)
		if err != nil || len(signatures[v.ServerName][v.KeyID]) != ed25519.SignatureSize {
			t.Errorf("%s: %v, %v", c.Name, signatures, err)
		}
		covered, err := SignedBytes(got)
		if err != nil || !ed25519.Verify(key.Public(), covered, signatures[v.ServerName][v.KeyID]) {
			t.Errorf("%s: %s, %v", c.Name, covered, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	_, key := readVectors(t)
	good, err := Sign([]byte(`{"one":1}`), "domain", key)
	if err != nil {
		t.Fatal(err)
	}
	signature := strings.Split(string(good), `"ed25519:1":"`)[1][:86]
	for name, c := range map[string]struct {
		object, entity string
		keyID          id.KeyID
		public         ed25519.PublicKey
	}{
		"changed":              {strings.Replace(string(good), `"one":1`, `"one":2`, 1), "domain", key.ID, key.Public()},
		"added":                {`{"a":0,` + string(good[1:]), "domain", key.ID, key.Public()},
		"another entity":       {string(good), "domain2", key.ID, key.Public()},
		"another key ID":       {string(good), "domain", "ed25519:2", key.Public()},
		"another key":          {string(good), "domain", key.ID, make(ed25519.PublicKey, 32)},
		"short key":            {string(good), "domain", key.ID, nil},
		"unknown algorithm":    {strings.Replace(string(good), "ed25519", "rsa", 1), "domain", "rsa:1", key.Public()},
		"no signatures":        {`{"one":1}`, "domain", key.ID, key.Public()},
		"signatures no object": {`{"one":1,"signatures":[]}`, "domain", key.ID, key.Public()},
		"entity no object":     {`{"one":1,"signatures":{"domain":"x"}}`, "domain", key.ID, key.Public()},
		"not a string":         {`{"one":1,"signatures":{"domain":{"ed25519:1":1}}}`, "domain", key.ID, key.Public()},
		"not Base64":           {strings.Replace(string(good), signature, signature[:85]+"*", 1), "domain", key.ID, key.Public()},
		"too short":            {strings.Replace(string(good), signature, signature[:80], 1), "domain", key.ID, key.Public()},
		"empty":                {strings.Replace(string(good), signature, "", 1), "domain", key.ID, key.Public()},
		"not JSON":             {`{"one"`, "domain", key.ID, key.Public()},
		"not an object":        {`[]`, "domain", key.ID, key.Public()},
		"duplicate key":        {`{"one":1,` + string(good[1:]), "domain", key.ID, key.Public()},
	} {
		if err := Verify([]byte(c.object), c.entity, c.keyID, c.public); err == nil {
			t.Errorf("%s: %s passes", name, c.object)
		}
	}
	// The same object in another form, with padding and with more unsigned, passes.
	for _, object := range []string{
		strings.ReplaceAll(string(good), ":", " :\n"+" "),
		strings.Replace(string(good), signature, signature+"==", 1),
		strings.Replace(string(good), signature, strings.NewReplacer("+", "-", "/", "_").Replace(signature), 1),
		string(good[:len(good)-1]) + `,"unsigned":{"age":1.5}}`,
	} {
		if object == string(good) && strings.ContainsAny(signature, "+/") {
			t.Error("nothing was changed")
		}
		object = strings.Replace(object, "ed25519 :\n 1", "ed25519:1", 1)
		if err := Verify([]byte(object), "domain", key.ID, key.Public()); err != nil {
			t.Errorf("%s: %v", object, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	_, key := readVectors(t)
	for _, object := range []string{``, `[]`, `{"signatures":1}`, `{"signatures":{"domain":1}}`, `{"a":1,"a":1}`} {
		if got, err := Sign([]byte(object), "domain", key); err == nil {
			t.Errorf("%s: got %s", object, got)
		}
	}
	var e *Error
	if _, err := Sign([]byte(`{}`), "domain", Key{ID: "ed25519:1"}); !errors.As(err, &e) || e.Entity != "domain" {
		t.Errorf("got %v", err)
	}
}

func TestSignatures(t *testing.T) {
	got, err := Signatures([]byte(`{"signatures":{
		"a":{"ed25519:1":"AA","rsa:x":"AQ==","nokey":"AA","ed25519:2":"*","ed25519:3":1},
		"b":[], "\u0063":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, garbage := range []id.KeyID{"ed25519:2", "ed25519:3"} { // it must not pass for one that isn't there
		if signature, ok := got["a"][garbage]; !ok || len(signature) > 0 {
			t.Errorf("%s: %v, %v", garbage, signature, ok)
		}
	}
	if len(got) != 3 || len(got["a"]) != 4 || string(got["a"]["ed25519:1"]) != "\x00" || string(got["a"]["rsa:x"]) != "\x01" {
		t.Errorf("got %v", got)
	}
	if _, ok := got["c"]; !ok {
		t.Errorf("got %v", got)
	}
	if got, err := Signatures([]byte(`{}`)); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Signatures([]byte(`{"signatures":"x"}`)); err == nil {
		t.Errorf("got %v", got)
	}
}

// spec:appendices#unpadded-base64
func TestBase64(t *testing.T) {
	for plain, encoded := range map[string]string{
		"": "", "f": "Zg", "fo": "Zm8", "foo": "Zm9v", "foob": "Zm9vYg", "fooba": "Zm9vYmE", "foobar": "Zm9vYmFy", "\xfb\xff": "+/8",
	} {
		if got := EncodeBase64([]byte(plain)); got != encoded {
			t.Errorf("%q: got %s", plain, got)
		}
		padded := encoded + strings.Repeat("=", (4-len(encoded)%4)%4)
		for _, text := range []string{encoded, padded, strings.NewReplacer("+", "-", "/", "_").Replace(padded)} {
			if got, err := DecodeBase64(text); err != nil || string(got) != plain {
				t.Errorf("%s: got %q, %v", text, got, err)
			}
		}
	}
	for _, text := range []string{"Z", "Zg*", "Z=g"} {
		if got, err := DecodeBase64(text); err == nil {
			t.Errorf("%s: got %q", text, got)
		}
	}
}

// The verdicts are those of unpaddedbase64 2.1, which Synapse uses, run by Python 3.6 to 3.13.
func TestBase64LikeSynapse(t *testing.T) {
	for text, want := range map[string]string{ // "-": refused
		"+-/_": "fbefff", "ab+_": "69bfbf", "+_": "fb", "": "", "=": "", "!!!!": "",
		"ab=": "69", "ab==": "69", "ab===": "69", "abc=": "69b7", "abcd=====": "69b71d",
		"ab\n": "-", "abc\n": "-", "abcd\n": "69b71d", "abcd efg": "-", "abcde": "-",
		"a!b": "-", "a!bc": "-", "a!bcd": "69b71d", "abc!": "-", "abc!!": "69b7", "ab!=": "-", "ab=!=": "69",
		"ab==cd": "69", "ab==cdef": "69", "ab=c": "-", "a=bc": "-", "09 +=_9+": "d3df", "b=_0=b": "6ffd",
		"abé": "-", "abcd\u00a0\u00a0": "-", "ab==é": "-",
	} {
		got := "-"
		if decoded, err := DecodeBase64(text); err == nil {
			got = hex.EncodeToString(decoded)
		}
		if got != want {
			t.Errorf("%q: got %s, not %s", text, got, want)
		}
	}
}

// FuzzSign: what can be signed verifies, and keeps every other member.
func FuzzSign(f *testing.F) {
	v, key := readVectors(f)
	for _, c := range v.Cases {
		f.Add([]byte(c.Object), "domain")
	}
	f.Add([]byte(`{"signatures":{"a\"b":{}}}`), `a"b`)
	f.Fuzz(func(t *testing.T, object []byte, entity string) {
		_, _ = Signatures(object)
		_ = Verify(object, entity, key.ID, key.Public())
		before, err := SignedBytes(object)
		if err != nil {
			return
		}
		entity = strings.ToValidUTF8(entity, "?")
		signed, err := Sign(object, entity, key)
		if err != nil {
			return
		}
		if err := Verify(signed, entity, key.ID, key.Public()); err != nil {
			t.Fatalf("%s: %v", signed, err)
		}
		if after, err := SignedBytes(signed); err != nil || string(after) != string(before) {
			t.Fatalf("%s became %s, %v", before, after, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	_, key := readVectors(b)
	object, err := Sign([]byte(`{"method":"PUT","uri":"/_matrix/federation/v1/send/1","origin":"a","destination":"b","content":{"pdus":[]}}`), "a", key)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Verify(object, "a", key.ID, key.Public()); err != nil {
			b.Fatal(err)
		}
	}
}

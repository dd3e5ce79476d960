package keys

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

func TestOurDocument(t *testing.T) {
	f := &KeyFile{Current: signingKey("a", 1), Others: []SigningKey{signingKey("b", 2)},
		Old: map[id.KeyID]OldVerifyKey{"ed25519:c": {Key: signingKey("c", 3).Public(), ExpiredTS: 77}}}
	until := time.UnixMilli(1_700_000_000_000)
	raw, err := f.ServerKeys("own.test", until)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseServerKeys(raw)
	if err != nil {
		t.Fatal(err)
	}
	if k.ServerName != "own.test" || k.ValidUntilTS != until.UnixMilli() || len(k.VerifyKeys) != 2 || !reflect.DeepEqual(k.OldVerifyKeys, f.Old) {
		t.Errorf("got %+v", k)
	}
	for _, key := range []SigningKey{signingKey("a", 1), signingKey("b", 2)} {
		if err := signedjson.Verify(raw, "own.test", key.ID, key.Public()); err != nil {
			t.Error(err)
		}
	}
	loaded, err := LoadServerKeys(raw, 5)
	if err != nil || loaded.FetchedTS != 5 || !reflect.DeepEqual(loaded.VerifyKeys, k.VerifyKeys) {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
}

func TestDocumentsMustBeSignedByAListedKey(t *testing.T) {
	doc := func(sign SigningKey) []byte {
		raw := mustCanonical(document{ServerName: "a.test", ValidUntilTS: 1, VerifyKeys: map[id.KeyID]wireKey{
			"ed25519:1": {signedjson.EncodeBase64(signingKey("1", 1).Public())},
			"rsa:1":     {"not even Base64"},
		}})
		signed, err := signedjson.Sign(raw, "a.test", sign)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	if k, err := ParseServerKeys(doc(signingKey("1", 1))); err != nil || len(k.VerifyKeys) != 1 {
		t.Errorf("signed by the listed key: %v, %v", k, err)
	}
	if _, err := ParseServerKeys(doc(signingKey("1", 2))); err == nil {
		t.Error("a forged signature is accepted")
	}
	if _, err := ParseServerKeys(doc(signingKey("2", 1))); err == nil {
		t.Error("a signature of a key that isn't listed is accepted")
	}
}

// What others read in a document must be what is read here: the names of its members are exact.
func TestNamesInDocumentsAreExact(t *testing.T) {
	one, other := signedjson.EncodeBase64(signingKey("1", 1).Public()), signedjson.EncodeBase64(signingKey("2", 2).Public())
	for raw, good := range map[string]bool{
		`{"server_name":"a.test","valid_until_ts":1,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`: true,
		`{"Server_name":"a.test","valid_until_ts":1,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`: false,
		`{"server_name":"a.test","Valid_until_ts":1,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`: false,
		`{"server_name":"a.test","valid_until_ts":1,"Verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`: false,
		`{"server_name":"a.test","valid_until_ts":1,"verify_keys":{"ed25519:1":{"Key":"` + one + `"}}}`: false,
		`{"server_name":"a.test","valid_until_ts":1,"Verify_Keys":{"ed25519:2":{"key":"` + other + `"}},"verify_keys":{"ed25519:1":{"Key":"x","key":"` + one + `"}},
			"ſerver_name":"b.test","Old_verify_keys":{"ed25519:2":{"key":"` + other + `"}},"verify_keyſ":{"ed25519:2":{"key":"` + other + `"}},"valid_until_tſ":9}`: true,
		// Times and keys of other kinds than they must have.
		`{"server_name":"a.test","valid_until_ts":1.0,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`:                 false,
		`{"server_name":"a.test","valid_until_ts":1e3,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`:                 false,
		`{"server_name":"a.test","valid_until_ts":"1","verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`:                 false,
		`{"server_name":"a.test","valid_until_ts":null,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`:                false,
		`{"server_name":"a.test","valid_until_ts":9223372036854775808,"verify_keys":{"ed25519:1":{"key":"` + one + `"}}}`: false,
		`{"server_name":"a.test","valid_until_ts":1,"verify_keys":{"ed25519:1":null}}`:                                    false,
		`{"server_name":"a.test","valid_until_ts":1,"verify_keys":null}`:                                                  false,
	} {
		k, err := LoadServerKeys([]byte(raw), 0)
		if (err == nil) != good {
			t.Errorf("%s: %v", raw, err)
		}
		if good && (k.ServerName != "a.test" || k.ValidUntilTS != 1 || len(k.VerifyKeys) != 1 || k.VerifyKeys["ed25519:1"] == nil || len(k.OldVerifyKeys) != 0) {
			t.Errorf("%s: got %+v", raw, k)
		}
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	keys := map[id.KeyID]wireOldKey{}
	for i := range maxDocumentKeys {
		keys[id.KeyID("ed25519:"+strings.Repeat("x", i+1))] = wireOldKey{signedjson.EncodeBase64(signingKey("1", 1).Public()), 1}
	}
	raw := mustCanonical(document{ServerName: "a.test", ValidUntilTS: 1, OldVerifyKeys: keys,
		VerifyKeys: map[id.KeyID]wireKey{"ed25519:1": {signedjson.EncodeBase64(signingKey("1", 1).Public())}}})
	if _, err := LoadServerKeys(raw, 0); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too many keys: %v", err)
	}
	if _, err := LoadServerKeys([]byte(`{"x":"`+strings.Repeat("x", maxDocumentSize)+`"}`), 0); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too long: %v", err)
	}
}

func TestValidUntil(t *testing.T) {
	week := validityCap.Milliseconds()
	for _, c := range []struct{ fetched, until, want int64 }{
		{1000, 2000, 2000}, {1000, 1000 + week, 1000 + week}, {1000, 1001 + week, 1000 + week}, {1000, math.MaxInt64, 1000 + week},
		{0, 5, 5}, {math.MaxInt64, 5, 5},
	} {
		if got := (ServerKeys{FetchedTS: c.fetched, ValidUntilTS: c.until}).ValidUntil(); got != c.want {
			t.Errorf("fetched %d, until %d: %d, want %d", c.fetched, c.until, got, c.want)
		}
	}
}

func FuzzParseServerKeys(f *testing.F) {
	f.Add(string((&peer{keys: []SigningKey{signingKey("1", 1)}, valid: time.Hour}).document("a.test")))
	f.Add(`{"server_name":"a","verify_keys":{"ed25519:1":{"key":""}},"old_verify_keys":{"x":null},"valid_until_ts":1e3}`)
	f.Fuzz(func(t *testing.T, raw string) {
		k, err := ParseServerKeys([]byte(raw))
		if err != nil {
			return
		}
		again, err := ParseServerKeys(k.Raw)
		if err != nil || !reflect.DeepEqual(k, again) {
			t.Errorf("%+v\nread again is\n%+v, %v", k, again, err)
		}
	})
}

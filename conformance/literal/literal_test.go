package literal

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
)

// TestVectors: the specification's own examples of hashes, signatures and canonical JSON.
func TestVectors(t *testing.T) {
	seed, err := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]ed25519.PublicKey{"ed25519:1": ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)}
	for _, text := range []string{
		`{"auth_events":[],"content":{},"depth":3,"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},"origin":"domain","origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain","signatures":{"domain":{"ed25519:1":"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"}},"type":"X","unsigned":{"age_ts":1000000}}`,
		`{"content":{"body":"Here is the message content"},"event_id":"$0:domain","hashes":{"sha256":"onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g"},"origin":"domain","origin_server_ts":1000000,"type":"m.room.message","room_id":"!r:domain","sender":"@u:domain","signatures":{"domain":{"ed25519:1":"Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA"}},"unsigned":{"age_ts":1000000}}`,
	} {
		e, err := Read(1, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.CheckHash(); err != nil {
			t.Error(err)
		}
		if err := e.CheckSignature("domain", keys); err != nil {
			t.Error(err)
		}
		changed, err := Read(1, []byte(strings.Replace(text, "1000000,", "1000001,", 1)))
		if err != nil {
			t.Fatal(err)
		}
		if changed.CheckHash() == nil || changed.CheckSignature("domain", keys) == nil {
			t.Errorf("a change is not noticed: %s", Canonical(changed.Fields))
		}
	}
	for text, want := range map[string]string{
		`{"one":1,"two":"Two"}`:              `{"one":1,"two":"Two"}`,
		`{"b":"2","a":"1"}`:                  `{"a":"1","b":"2"}`,
		`{"auth":{"success":true,"a":null}}`: `{"auth":{"a":null,"success":true}}`,
		`{"a":"日本語"}`:                        `{"a":"日本語"}`,
		`{"本":2,"日":1}`:                      `{"日":1,"本":2}`,
		`{"a":"\u65E5"}`:                     `{"a":"日"}`,
		`{"a":"\u000b\n\/"}`:                 `{"a":"\u000b\n/"}`,
	} {
		fields, err := object([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(Canonical(fields)); got != want {
			t.Errorf("%s became %s, not %s", text, got, want)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		version int
		value   string
		want    int64
		good    bool
	}{
		{10, `50`, 50, true}, {10, `"50"`, 0, false}, {9, `" +050 "`, 50, true}, {9, `"-7"`, -7, true}, {9, `"5 0"`, 0, false}, {9, `"1.5"`, 0, false},
		{5, `50.9`, 50, true}, {5, `5.114698E4`, 51146, true}, {6, `50.9`, 0, false}, {9, `null`, 0, false}, {9, `[]`, 0, false},
	} {
		fields, err := object([]byte(`{"a":` + c.value + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, good := level(c.version, fields["a"]); good != c.good || got != c.want {
			t.Errorf("version %d: %s is %d, %v", c.version, c.value, got, good)
		}
	}
}

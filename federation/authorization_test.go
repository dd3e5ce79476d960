package federation

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

func TestParseAuthorization(t *testing.T) {
	const sig = "c2lnbmF0dXJl" // "signature"
	good := Authorization{Origin: "origin.example", Destination: "dest.example:8448", Key: "ed25519:key_1", Signature: []byte("signature")}
	without := good
	without.Destination = ""
	six := good
	six.Origin = "[::1]:8448"
	for name, c := range map[string]struct {
		header string
		want   Authorization
	}{
		"as the spec writes it":       {`X-Matrix origin="origin.example",destination="dest.example:8448",key="ed25519:key_1",sig="c2lnbmF0dXJl"`, good},
		"the spec's other name":       {`X-Matrix origin="origin.example",destination="dest.example:8448",key="ed25519:key_1",signature="c2lnbmF0dXJl"`, good},
		"both names, deployed counts": {`X-Matrix signature="AAAA",origin="origin.example",destination="dest.example:8448",key="ed25519:key_1",sig="c2lnbmF0dXJl"`, good},
		"padded base64":               {`X-Matrix origin="[::1]:8448",destination="dest.example:8448",key="ed25519:key_1",sig="c2lnbmF0dXJl"`, six},
		"tokens without quotes":       {`X-Matrix origin=origin.example,destination="dest.example:8448",key="ed25519:key_1",sig=` + sig, good},
		"colons without quotes":       {`X-Matrix origin=origin.example,destination=dest.example:8448,key=ed25519:key_1,sig=` + sig, good},
		"literal without quotes":      {`X-Matrix origin=[::1]:8448,destination=dest.example:8448,key=ed25519:key_1,sig=` + sig, six},
		"any order, any case":         {`x-mAtRiX SIG="c2lnbmF0dXJl",KEY="ed25519:key_1",Destination="dest.example:8448",oRigin="origin.example"`, good},
		"blanks and tabs":             {"X-Matrix  \t origin=\"origin.example\" ,\t destination = \"dest.example:8448\"\t,  key=ed25519:key_1 , sig=\"c2lnbmF0dXJl\"  ", good},
		"backslashes":                 {`X-Matrix origin="\o\rigin.ex\ample",destination="dest.example\:8448",key="ed25519:key_1",sig="c2lnbmF0dXJl"`, good},
		"unknown parameters":          {`X-Matrix foo="a,b=\"c\"",origin="origin.example",destination="dest.example:8448",key="ed25519:key_1",sig="c2lnbmF0dXJl",bar=baz`, good},
		"no destination":              {`X-Matrix origin=origin.example,key="ed25519:key_1",sig="c2lnbmF0dXJl"`, without},
		"empty list elements":         {`X-Matrix ,origin=origin.example,, key="ed25519:key_1", ,sig="c2lnbmF0dXJl",`, without},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAuthorization(c.header)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestParseAuthorizationRefuses(t *testing.T) {
	for name, header := range map[string]string{
		"nothing":                  `X-Matrix`,
		"no origin":                `X-Matrix destination="d.example",key="ed25519:1",sig="AAAA"`,
		"no key":                   `X-Matrix origin="o.example",sig="AAAA"`,
		"no signature":             `X-Matrix origin="o.example",key="ed25519:1"`,
		"empty signature":          `X-Matrix origin="o.example",key="ed25519:1",sig=""`,
		"signature not base64":     `X-Matrix origin="o.example",key="ed25519:1",sig="!"`,
		"origin no server name":    `X-Matrix origin="o example",key="ed25519:1",sig="AAAA"`,
		"empty destination":        `X-Matrix origin="o.example",destination="",key="ed25519:1",sig="AAAA"`,
		"key no key ID":            `X-Matrix origin="o.example",key="ed25519",sig="AAAA"`,
		"a parameter twice":        `X-Matrix origin="o.example",origin="p.example",key="ed25519:1",sig="AAAA"`,
		"twice in different case":  `X-Matrix origin="o.example",Origin="o.example",key="ed25519:1",sig="AAAA"`,
		"no comma":                 `X-Matrix origin="o.example" key="ed25519:1",sig="AAAA"`,
		"no value":                 `X-Matrix origin,key="ed25519:1",sig="AAAA"`,
		"no name":                  `X-Matrix ="o.example",key="ed25519:1",sig="AAAA"`,
		"no end of quotes":         `X-Matrix origin="o.example,key=`,
		"backslash at the end":     `X-Matrix origin="o.example\`,
		"unquoted that must be":    `X-Matrix origin=o.example,key="ed25519:1",sig="AAAA",x=a"b`,
		"control character":        "X-Matrix origin=\"o.exa\x01mple\",key=\"ed25519:1\",sig=\"AAAA\"",
		"longer than any can be":   `X-Matrix origin="o.example",key="ed25519:1",sig="AAAA",x="` + strings.Repeat("a", MaxAuthorization) + `"`,
		"name with a space inside": `X-Matrix ori gin="o.example",key="ed25519:1",sig="AAAA"`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseAuthorization(header); err == nil || errors.Is(err, ErrOtherScheme) {
				t.Errorf("got %+v, %v; want it refused", got, err)
			}
		})
	}
	for _, header := range []string{"", "Bearer abc", "X-Matrixx origin=a", "X-Matri"} {
		if _, err := ParseAuthorization(header); !errors.Is(err, ErrOtherScheme) {
			t.Errorf("%q: got %v, want ErrOtherScheme", header, err)
		}
	}
}

func equal(a, b Authorization) bool { return a.String() == b.String() }

func TestRequestBytes(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"no body": {"", `{"destination":"d.example","method":"GET","origin":"o.example","uri":"/_matrix/x?a=%22b\"\\"}`},
		"a body": {` { "b" : [1, 2.50], "a" : "\u00e9<" } `,
			`{"content":{"a":"é<","b":[1,2.5]},"destination":"d.example","method":"GET","origin":"o.example","uri":"/_matrix/x?a=%22b\"\\"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := RequestBytes("GET", `/_matrix/x?a=%22b"\`, "o.example", "d.example", []byte(c.content))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if _, err := RequestBytes("PUT", "/", "o.example", "d.example", []byte(`{"a":1,"a":2}`)); err == nil {
		t.Error("a body with a duplicate key was signed")
	}
}

// TestRequestBytesIsSignedJSON: the bytes are what signing the request object of the spec signs.
func TestRequestBytesIsSignedJSON(t *testing.T) {
	const uri = "/_matrix/federation/v1/send/1?x=\u00e9"
	got, err := RequestBytes("PUT", uri, "o.example", "d.example", []byte(`{"pdus":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	want, err := signedjson.SignedBytes([]byte(`{"method":"PUT","uri":"` + uri + `","origin":"o.example","destination":"d.example","content":{"pdus":[]},"signatures":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSignRequest(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := signedjson.Key{ID: "ed25519:a", Private: private}
	signed, err := SignRequest(key, "PUT", "/x", "o.example", "d.example", []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseAuthorization(signed.String())
	if err != nil {
		t.Fatal(err)
	}
	message, _ := RequestBytes("PUT", "/x", read.Origin, read.Destination, []byte(`{ "a" : 1 }`))
	if read.Key != "ed25519:a" || !ed25519.Verify(public, message, read.Signature) {
		t.Errorf("the signature of %+v is not good", read)
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add(`X-Matrix origin="origin.example",destination="dest.example:8448",key="ed25519:key_1",sig="c2lnbmF0dXJl"`)
	f.Add(`x-matrix  origin=[::1]:8448 , key=ed25519:a,sig="\AAAA=",x="\"\\,"`)
	f.Add(`X-Matrix ,,=,"`)
	f.Fuzz(func(t *testing.T, header string) {
		a, err := ParseAuthorization(header)
		if err != nil {
			return
		}
		again, err := ParseAuthorization(a.String())
		if err != nil {
			t.Fatalf("%q was read as %+v, which is written as %q, which is refused: %v", header, a, a.String(), err)
		}
		if !equal(a, again) {
			t.Fatalf("%q: %+v became %+v", header, a, again)
		}
		if _, err := id.ParseServerName(string(a.Origin)); err != nil {
			t.Fatalf("%q: origin %q is no server name", header, a.Origin)
		}
	})
}

func BenchmarkParseAuthorization(b *testing.B) {
	const header = `X-Matrix origin="origin.example",destination="dest.example:8448",key="ed25519:key_1",sig="4zmqAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAuthorization(header); err != nil {
			b.Fatal(err)
		}
	}
}

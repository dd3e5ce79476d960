package resolver

import (
	"net/http"
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		what   string
		header http.Header
		want   time.Duration
	}{
		{"no headers", http.Header{}, 24 * time.Hour},
		{"max-age", http.Header{"Cache-Control": {"public, max-age=3600"}}, time.Hour},
		{"max-age in quotes and capitals", http.Header{"Cache-Control": {`Max-Age="3600"`}}, time.Hour},
		{"too long", http.Header{"Cache-Control": {"max-age=31536000"}}, 48 * time.Hour},
		{"too short", http.Header{"Cache-Control": {"max-age=1"}}, 5 * time.Minute},
		{"no-store", http.Header{"Cache-Control": {"no-store"}}, 5 * time.Minute},
		{"no-cache in a second header", http.Header{"Cache-Control": {"public", "no-cache"}}, 5 * time.Minute},
		{"max-age that is none", http.Header{"Cache-Control": {"max-age=soon"}}, 5 * time.Minute},
		{"nothing about lifetime", http.Header{"Cache-Control": {"public"}}, 24 * time.Hour},
		{"Expires", http.Header{"Expires": {at(2 * time.Hour)}}, 2 * time.Hour},
		{"Expires by the other's clock", http.Header{"Expires": {at(2 * time.Hour)}, "Date": {at(time.Hour)}}, time.Hour},
		{"Expires in the past", http.Header{"Expires": {at(-time.Hour)}}, 5 * time.Minute},
		{"Expires that is no date", http.Header{"Expires": {"0"}}, 5 * time.Minute},
		{"max-age before Expires", http.Header{"Cache-Control": {"max-age=7200"}, "Expires": {"0"}}, 2 * time.Hour},
		{"an old copy", http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"3600"}}, time.Hour},
	} {
		if got := lifetime(c.header, now); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestParseWellKnown(t *testing.T) {
	for body, want := range map[string]string{
		`{"m.server":"other.test"}`:                      "other.test",
		`{"m.server":"other.test:99","m.client":{}}`:     "other.test:99",
		"\ufeff" + `{"m.server":"other.test"}`:           "",
		`{"m.server":"[::1]:99"}`:                        "[::1]:99",
		`{"m.server":"https://other.test"}`:              "",
		`{"m.server":"other.test/path"}`:                 "",
		`{"m.server":""}`:                                "",
		`{"m.server":null}`:                              "",
		`{"m.server":{}}`:                                "",
		`{"M.Server":"other.test"}`:                      "",
		`{"m.server":"other.test","M.SERVER":"x.test"}`:  "other.test",
		`{"m.server":"other.test","m.ſerver":"x.test"}`:  "other.test",
		"{\"m.server\":\"other.test\",\"x\":\"\xff\"}":   "",
		`{"m.homeserver":{"base_url":"https://x.test"}}`: "",
		`["other.test"]`:                                 "",
		`other.test`:                                     "",
		``:                                               "",
	} {
		got, err := ParseWellKnown([]byte(body))
		if string(got.Server) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", body, got.Server, err, want)
		}
	}
}

func FuzzParseWellKnown(f *testing.F) {
	f.Add(`{"m.server":"other.test:99"}`)
	f.Fuzz(func(t *testing.T, body string) {
		known, err := ParseWellKnown([]byte(body))
		if err == nil && known.Server.Host() == "" {
			t.Errorf("%q delegates to a server without a host", body)
		}
	})
}

package node

import (
	"strings"
	"testing"

	"hanse/federation/id"
)

func TestNamesThatNobodyFinds(t *testing.T) {
	for name, want := range map[string]string{
		"example.org": "", "example.org:8448": "", "localhost": "", "a": "", "xn--hxajbheg2az3al.example": "", "127.0.0.1:1": "", "[::1]:8448": "", "4.example": "",
		"-1": "hyphen", "a-.example": "hyphen", "example.org:0": "port 0", "example.org:00000": "port 0", "[::1]:0": "port 0",
		"example..org": "empty", ".": "empty", "example.org.": "empty", strings.Repeat("a", 64) + ".example": "63 letters",
	} {
		if _, err := id.ParseServerName(name); err != nil {
			t.Errorf("the grammar allows it: %v", err)
		}
		for path, config := range map[string]Config{
			"server_name": {ServerName: name}, "federation.well_known": {ServerName: "example.org", Federation: FederationConfig{WellKnown: name}},
		} {
			err := config.Validate()
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s %q: %v, want %q", path, name, err, want)
			}
		}
	}
}

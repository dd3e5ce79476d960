package oauth

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// metadata is what a client says, with parts of a JSON object in place of others.
func metadata(parts string) []byte {
	return []byte(`{"client_uri":"https://example.com/","redirect_uris":["https://app.example.com/callback"],"token_endpoint_auth_method":"none",
		"response_types":["code"],"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:token-exchange"]` + parts + `}`)
}

func readClient(t *testing.T, parts string) Client {
	t.Helper()
	c, err := ReadClient(metadata(parts))
	if err != nil {
		t.Fatalf("%s: %v", parts, err)
	}
	return c
}

func TestRedirectURIs(t *testing.T) {
	for _, c := range []struct {
		application, home, redirect string
		good                        bool
	}{
		// the specification's examples
		{"web", "https://example.com/", "https://example.com/callback", true},
		{"web", "https://example.com/", "https://app.example.com/callback", true},
		{"web", "https://example.com/", "https://example.com:5173/?query=value", true},
		{"web", "https://example.com/", "https://example.com/callback#fragment", false},
		{"web", "https://example.com/", "http://example.com/callback", false},
		{"web", "https://example.com/", "http://localhost/", false},
		{"native", "https://example.com/", "com.example.app:/callback", true},
		{"native", "https://example.com/", "com.example:/", true},
		{"native", "https://example.com/", "com.example:callback", true},
		{"native", "https://example.com/", "http://localhost/callback", true},
		{"native", "https://example.com/", "http://127.0.0.1/callback", true},
		{"native", "https://example.com/", "http://[::1]/callback", true},
		{"native", "https://example.com/", "https://example.com/callback", true},
		{"native", "https://example.com/", "example:/callback", false},
		{"native", "https://example.com/", "com.example.app://callback", false},
		{"native", "https://example.com/", "https://localhost/callback", false},
		{"native", "https://example.com/", "http://localhost:1234/callback", false},
		// deployed clients
		{"native", "https://element.io", "io.element.android:/", true},
		{"native", "https://element.io", "io.element:/callback", true},
		{"native", "https://element.io", "io.element.desktop:/vector/webapp/", true},
		{"web", "https://app.element.io/", "https://app.element.io/?no_universal_links=true", true},
		// what others have tried
		{"web", "https://example.com/", "https://evil.com/callback", false},
		{"web", "https://example.com/", "https://evilexample.com/", false},
		{"web", "https://example.com/", "https://example.com.evil.com/", false},
		{"web", "https://example.com/", "https://example.com@evil.com/", false},
		{"web", "https://example.com/", "https://user:pass@example.com/", false},
		{"web", "https://example.com/", `https://evil.com\@example.com/`, false},
		{"web", "https://example.com/", "https://evil.com\t.example.com/", false},
		{"web", "https://example.com/", "https://example.com/\r\nSet-Cookie: a=b", false},
		{"web", "https://example.com/", "https:example.com/", false},
		{"web", "https://example.com/", "https:///example.com/", false},
		{"web", "https://example.com/", "HTTPS://example.com/", false},
		{"web", "https://example.com/", "//example.com/", false},
		{"web", "https://example.com/", "https://ex\u0430mple.com/", false},
		{"web", "https://example.com/", "com.example.app:/callback", false},
		{"web", "https://ex%D0%B0mple.com/", "https://ex%D0%B0mple.com/", false}, // people would read another host
		{"web", "https://example.com/", "https://a;sandbox;.example.com/", false},
		{"web", "https://example.com(safe).evil.com/", "https://example.com(safe).evil.com/", false},
		{"native", "https://example.com/", "javascript:alert(1)", false},
		{"native", "https://example.com/", "data:text/html,hello", false},
		{"native", "https://example.com/", "com.examples:/callback", false},
		{"native", "https://example.com/", "http://localhost.evil.com/", false},
		{"native", "https://example.com/", "http://localhost@evil.com/", false},
		{"native", "https://example.com/", "http://127.0.0.1.evil.com/", false},
		{"native", "https://example.com/", "", false},
	} {
		_, err := ReadClient(fmt.Appendf(nil, `{"client_uri":%q,"redirect_uris":[%q],"application_type":%q}`, c.home, c.redirect, c.application))
		if good := err == nil; good != c.good {
			t.Errorf("%s %s: %s: %v", c.application, c.home, c.redirect, err)
		}
	}
}

func TestClientMetadata(t *testing.T) {
	c := readClient(t, `,"client_name":"An app","tos_uri":"https://example.com/tos","id_token_signed_response_alg":"RS256","client_name#fr":"Une appli"`)
	clientID, stored, err := c.Stored()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(stored), "token-exchange") || strings.Contains(string(stored), "RS256") {
		t.Errorf("what this server doesn't know is left out: %s", stored)
	}
	again, err := StoredClient(stored)
	if other, _, err := again.Stored(); err != nil || other != clientID {
		t.Errorf("the stored client is another: %s", other)
	}
	if err != nil || again.Name != "An app" || again.ApplicationType != "web" || !again.May(GrantRefresh) || again.May(GrantDevice) || again.Host() != "example.com" {
		t.Errorf("%+v, %v", again, err)
	}
	if other, _, _ := readClient(t, "").Stored(); other == clientID {
		t.Error("another client has the same ID")
	}
	for _, parts := range []string{
		`,"client_uri":null,"client_uri":""`,
		`,"client_uri":"http://example.com/"`,
		`,"client_uri":"https://com/"`,
		`,"client_uri":"https://user@example.com/"`,
		`,"logo_uri":"https://tracker.org/"`,
		`,"tos_uri":"javascript:alert(1)"`,
		`,"policy_uri":"https://notexample.com/"`,
		`,"client_name":"` + strings.Repeat("x", 101) + `"`,
		`,"client_name":"innocent\u202eliame"`,
		`,"client_name":"a\nb"`,
		`,"token_endpoint_auth_method":"client_secret_basic"`,
		`,"application_type":"service"`,
		`,"grant_types":["implicit"]`,
		`,"redirect_uris":[]`,
		`,"redirect_uris":["https://example.com/` + strings.Repeat("x", 2048) + `"]`,
		`,"redirect_uris":[` + strings.Repeat(`"https://example.com/",`, 10) + `"https://example.com/"]`,
		`,"redirect_uris":"https://example.com/"`,
	} {
		_, err := ReadClient(metadata(parts))
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != InvalidClientMetadata && refused.Code != InvalidRedirectURI {
			t.Errorf("%s: %v", parts, err)
		}
	}
	if _, err := ReadClient([]byte(`{"client_uri":"https://example.com/","grant_types":["urn:ietf:params:oauth:grant-type:device_code"]}`)); err != nil {
		t.Errorf("a device needs no redirect URI: %v", err)
	}
}

func TestAllowedRedirects(t *testing.T) {
	c := readClient(t, `,"application_type":"native","redirect_uris":["http://localhost/a","http://[::1]","https://example.com/b"]`)
	for redirect, allowed := range map[string]bool{
		"http://localhost/a":                  true,
		"http://localhost:8080/a":             true,
		"http://[::1]:80":                     true,
		"https://example.com/b":               true,
		"https://example.com/b?x=y":           false,
		"https://example.com/b/":              false,
		"https://example.com:444/b":           false,
		"https://EXAMPLE.com/b":               false,
		"https://example.com/%62":             false,
		"https://example.com/x/../b":          false,
		"http://localhost:/a":                 false,
		"http://localhost:80:80/a":            false,
		"http://localhost:80@evil.com/a":      false,
		"http://localhost:80.evil.com/a":      false,
		"http://localhost:123456/a":           false,
		"http://127.0.0.1/a":                  false,
		"http://localhost:8080/a#b":           false,
		"http://localhost:8080/b":             false,
		"":                                    false,
		"https://example.com/b\nhttps://evil": false,
	} {
		if c.allows(redirect) != allowed {
			t.Errorf("%q: %v", redirect, !allowed)
		}
	}
}

func TestScope(t *testing.T) {
	for scope, want := range map[string]string{
		"urn:matrix:client:api:* urn:matrix:client:device:ABC":                                               "ABC",
		"openid urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:A!b~": "A!b~",
		"urn:matrix:client:device:X  urn:matrix:client:api:* urn:example":                                    "X",
		"":                             "",
		"urn:matrix:client:api:*":      "",
		"urn:matrix:client:device:ABC": "",
		"urn:matrix:client:api:* urn:matrix:client:device:":                                                "",
		"urn:matrix:client:api:* urn:matrix:client:device:a\\b":                                            "",
		"urn:matrix:client:api:* urn:matrix:client:device:é":                                               "",
		"urn:matrix:client:api:* urn:matrix:client:device:A urn:matrix:org.matrix.msc2967.client:device:A": "",
		"urn:matrix:client:api:* urn:matrix:client:device:" + strings.Repeat("x", 256):                     "",
		"urn:matrix:client:api:read urn:matrix:client:device:A":                                            "",
	} {
		device, granted, err := ReadScope(scope)
		if device != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", scope, device, err)
		}
		if strings.Contains(granted, "openid") || strings.Contains(granted, "example") || want != "" && !strings.Contains(granted, ":device:"+want) {
			t.Errorf("%q: granted %q", scope, granted)
		}
	}
}

// RFC 7636, appendix B.
const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

func TestProofs(t *testing.T) {
	if !Proves(verifier, challenge) {
		t.Error("the example of RFC 7636")
	}
	for _, pair := range [][2]string{
		{verifier + "x", challenge}, {verifier, ""}, {"", ""}, {"", challenge}, {challenge, challenge}, {verifier, verifier},
		{strings.Repeat("x", 42), challenge}, {verifier, challenge + "="},
	} {
		if Proves(pair[0], pair[1]) {
			t.Errorf("%q proves %q", pair[0], pair[1])
		}
	}
}

func TestUserCodes(t *testing.T) {
	random := make([]byte, 256)
	for i := range random {
		random[i] = byte(255 - i)
	}
	code := UserCode(random)
	if code != "ZXWVTSRQ" {
		t.Error(code)
	}
	if UserCode([]byte{255, 255, 255}) != "" {
		t.Error("a code of nothing")
	}
	for _, typed := range []string{ShownUserCode(code), "zxwv tsrq", " zxWV-tSrq ", "ZXWVTSRQ"} {
		if ReadUserCode(typed) != code {
			t.Errorf("%q: %q", typed, ReadUserCode(typed))
		}
	}
	for _, typed := range []string{"", "ZXWV", "ZXWVTSRQZ", "ZXWVTSRA", "ZXWVTSR'"} {
		if ReadUserCode(typed) != "" {
			t.Errorf("%q: %q", typed, ReadUserCode(typed))
		}
	}
}

func TestRequests(t *testing.T) {
	client := readClient(t, `,"redirect_uris":["https://example.com/cb","https://example.com/q?a=b"]`)
	noCode := readClient(t, `,"grant_types":["refresh_token"]`)
	find := func(clientID string) (Client, bool, error) {
		switch clientID {
		case "c":
			return client, true, nil
		case "no code":
			noCode.RedirectURIs = client.RedirectURIs
			return noCode, true, nil
		case "broken":
			return Client{}, false, errors.New("no database")
		}
		return Client{}, false, nil
	}
	read := func(change ...string) (Request, error) {
		query := url.Values{
			"response_type": {"code"}, "client_id": {"c"}, "redirect_uri": {"https://example.com/cb"}, "state": {"s t&a=te"}, "response_mode": {"fragment"},
			"scope": {"urn:matrix:client:api:* urn:matrix:client:device:DEVICE"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
		}
		for i := 0; i+1 < len(change); i += 2 {
			if change[i+1] == "-" {
				query.Del(change[i])
				continue
			}
			if strings.HasPrefix(change[i], "+") {
				query.Add(change[i][1:], change[i+1])
				continue
			}
			query.Set(change[i], change[i+1])
		}
		return ReadRequest(query, "https://hs/", find)
	}
	r, err := read("prompt", "create")
	if err != nil || r.Device != "DEVICE" || !r.Create || r.Challenge != challenge {
		t.Fatalf("%+v %v", r, err)
	}
	if got := r.Succeed("c o"); got != "https://example.com/cb#code=c+o&iss=https%3A%2F%2Fhs%2F&state=s+t%26a%3Dte" {
		t.Error(got)
	}
	for mode, want := range map[string]string{"-": "https://example.com/q?a=b&code=x&iss=https%3A%2F%2Fhs%2F", "query": "https://example.com/q?a=b&code=x&iss=https%3A%2F%2Fhs%2F", "fragment": "https://example.com/q?a=b#code=x&iss=https%3A%2F%2Fhs%2F"} {
		r, err := read("redirect_uri", "https://example.com/q?a=b", "response_mode", mode, "state", "-")
		if got := r.Succeed("x"); err != nil || got != want {
			t.Error(mode, got, err)
		}
	}
	// These are told to the person: nobody may be sent to where nobody has said that they may.
	for _, change := range [][]string{
		{"client_id", "-"}, {"client_id", "other"}, {"+client_id", "c"}, {"redirect_uri", "-"}, {"+redirect_uri", "https://evil.com"},
		{"redirect_uri", "https://evil.com/"}, {"redirect_uri", "https://example.com/cb/../x"}, {"redirect_uri", ""},
	} {
		_, err := read(change...)
		var shown *Error
		if !errors.As(err, &shown) {
			t.Errorf("%v: %v", change, err)
		}
	}
	if _, err := read("client_id", "broken"); err == nil || err.Error() != "no database" {
		t.Error(err)
	}
	// These are told to the client.
	for _, c := range []struct {
		code   string
		change []string
	}{
		{UnsupportedResponseType, []string{"response_type", "token"}}, {UnsupportedResponseType, []string{"response_type", "-"}},
		{UnsupportedResponseType, []string{"response_type", "code token"}},
		{InvalidRequest, []string{"response_mode", "form_post"}}, {InvalidRequest, []string{"code_challenge", "-"}},
		{InvalidRequest, []string{"code_challenge_method", "plain"}}, {InvalidRequest, []string{"code_challenge_method", "-"}},
		{InvalidRequest, []string{"code_challenge", "short"}}, {InvalidRequest, []string{"+scope", "x"}}, {InvalidRequest, []string{"+state", "x"}},
		{InvalidRequest, []string{"state", strings.Repeat("x", 4097)}},
		{InvalidScope, []string{"scope", "openid"}}, {InteractionRequired, []string{"prompt", "none"}}, {UnauthorizedClient, []string{"client_id", "no code"}},
		{"request_not_supported", []string{"request_uri", "https://x"}},
	} {
		_, err := read(c.change...)
		var failure *Failure
		if !errors.As(err, &failure) || failure.Cause.Code != c.code || !strings.HasPrefix(failure.URL, "https://example.com/cb") || !strings.Contains(failure.URL, "error="+c.code) {
			t.Errorf("%v: %v", c.change, err)
		}
	}
}

func TestFormTargets(t *testing.T) {
	for redirect, want := range map[string]string{
		"https://app.example.com:444/cb?x=y": "https://app.example.com:444", "com.example.app:/cb": "com.example.app:",
		"http://[::1]:99/": "http:", "http://localhost:99/": "http://localhost:99", "com.example:cb": "com.example:",
	} {
		if got := FormTarget(redirect); got != want {
			t.Errorf("%s: %s", redirect, got)
		}
	}
}

// Whatever a client says of itself, users aren't sent elsewhere than to its host, itself or their own machine.
func FuzzRedirects(f *testing.F) {
	f.Add("https://example.com/cb")
	f.Add("com.example:/x")
	f.Add("http://localhost/x")
	f.Fuzz(func(t *testing.T, redirect string) {
		if checkRedirect(redirect, "example.com", true) != nil {
			return
		}
		uri, err := url.Parse(redirect)
		switch {
		case err != nil:
			t.Fatal(err)
		case uri.Scheme == "https":
			if uri.User != nil || uri.Hostname() != "example.com" && !strings.HasSuffix(strings.ToLower(uri.Hostname()), ".example.com") && strings.ToLower(uri.Hostname()) != "example.com" {
				t.Fatalf("%q leads to %s", redirect, uri.Host)
			}
		case uri.Scheme == "http":
			if host := uri.Host; uri.User != nil || host != "localhost" && host != "127.0.0.1" && host != "[::1]" {
				t.Fatalf("%q leads to %s", redirect, host)
			}
		case uri.Host != "" || uri.Scheme != "com.example" && !strings.HasPrefix(uri.Scheme, "com.example."):
			t.Fatalf("%q leads to %s", redirect, uri)
		}
	})
}

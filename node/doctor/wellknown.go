package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/resolver"
)

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 64 << 10

// maxRedirects is how many redirects other servers follow at least.
const maxRedirects = 5

// webAnswer is what a web server said.
type webAnswer struct {
	status    int
	header    http.Header
	body      []byte
	redirects []string
}

// web makes a request as other servers do for well-known.
func (x *examination) web(address string) (webAnswer, error) {
	ctx, cancel := context.WithTimeout(x.ctx, x.Timeout)
	defer cancel()
	var answer webAnswer
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, at string) (net.Conn, error) { return x.dial(ctx, at) },
			TLSClientConfig:   &tls.Config{RootCAs: x.Roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxBody,
		},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			to := request.URL.Redacted()
			if to == via[0].URL.Redacted() || slices.Contains(answer.redirects, to) {
				return errors.New("the redirects lead in a circle, back to " + to)
			}
			answer.redirects = append(answer.redirects, to)
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if request.URL.Scheme != "https" {
				return errors.New("it redirects to " + to + ", which is not https")
			}
			return nil
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer, err
	}
	request.Header.Set("User-Agent", x.UserAgent)
	response, err := client.Do(request)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		return answer, err
	}
	defer response.Body.Close()
	answer.status, answer.header = response.StatusCode, response.Header
	answer.body, err = io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	return answer, err
}

// wellKnownServer looks at the delegation and returns it. That there is none is nothing wrong.
//
// spec:server-server-api#getwell-knownmatrixserver
func (x *examination) wellKnownServer() id.ServerName {
	where := "https://" + x.name.Host() + "/.well-known/matrix/server"
	answer, err := x.web(where)
	const area = "well-known"
	for _, to := range answer.redirects {
		x.note(area, where, "redirects to %s", to)
	}
	switch {
	case err != nil && strings.Contains(err.Error(), "certificate"):
		x.warn(area, where, "it is there, but nobody believes it: "+err.Error(), "the web server of "+x.name.Host()+" needs a valid certificate for that name, or other servers ignore the delegation and try port 8448")
		return ""
	case err != nil && strings.Contains(err.Error(), "redirect"):
		x.wrong(area, where, err.Error(), "answer it by https, without redirects that lead in a circle (where a proxy asks the web server by plain http, that one must not redirect to https)")
		return ""
	case err != nil:
		x.note(area, where, "no web server answers (%v), so there is no delegation: others try the SRV record, then port 8448", err)
		return ""
	case answer.status == http.StatusNotFound:
		x.note(area, where, "the answer is 404: no delegation")
		return ""
	case answer.status != http.StatusOK:
		x.warn(area, where, fmt.Sprintf("the answer is %d %s", answer.status, http.StatusText(answer.status)),
			"answer with 200 and the delegation, or with 404 if there is none")
		return ""
	case len(answer.body) > maxBody:
		x.wrong(area, where, fmt.Sprintf("the answer has more than %d bytes", maxBody), "answer with nothing but {\"m.server\": \"host:port\"}")
		return ""
	}
	known, err := resolver.ParseWellKnown(answer.body)
	if err != nil {
		x.wrong(area, where, err.Error(), `answer with {"m.server": "host:port"}; what is there now can't be used, and others go on as if there were no delegation`)
		return ""
	}
	x.fine(area, where, "delegates to %s (%d bytes, Cache-Control: %s)", known.Server, len(answer.body), header(answer.header, "Cache-Control"))
	if kind := answer.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		x.warn(area, where, "its Content-Type is "+header(answer.header, "Content-Type"), "serve it as application/json: the specification asks others not to care, but some do")
	}
	return known.Server
}

// delegation compares what well-known says with what our own settings say.
func (x *examination) delegation(said id.ServerName) {
	where := "https://" + x.name.Host() + "/.well-known/matrix/server"
	switch {
	case x.Delegation == "" || x.Delegation == said:
	case said == "":
		x.wrong("well-known", where, "it does not delegate to "+string(x.Delegation)+", as federation.well_known says",
			"let the web server of "+x.name.Host()+" answer that path itself, or forward it to hanse")
	default:
		x.wrong("well-known", where, "it delegates to "+string(said)+", federation.well_known says "+string(x.Delegation), "correct the one that is wrong")
	}
}

// wellKnownClient looks at what clients find. Federation doesn't need it.
//
// spec:client-server-api#getwell-knownmatrixclient
func (x *examination) wellKnownClient() {
	where := "https://" + x.name.Host() + "/.well-known/matrix/client"
	const area = "clients"
	answer, err := x.web(where)
	if err != nil || answer.status == http.StatusNotFound {
		if x.PublicURL != "" {
			x.warn(area, where, "nothing there, although client.public_url is set: clients need to be told the address "+x.PublicURL+" by hand",
				"let the web server of "+x.name.Host()+" answer that path itself, or forward it to hanse")
			return
		}
		x.note(area, where, "nothing there: clients need to be told the address of the homeserver by hand")
		return
	}
	if answer.status != http.StatusOK {
		x.warn(area, where, fmt.Sprintf("the answer is %d %s", answer.status, http.StatusText(answer.status)), "clients give up here: answer with 200 or with 404")
		return
	}
	var said struct {
		Homeserver struct {
			BaseURL string `json:"base_url"`
		} `json:"m.homeserver"`
	}
	if err := exactjson.Unmarshal(answer.body, &said); err != nil || said.Homeserver.BaseURL == "" {
		x.warn(area, where, "it is no JSON with m.homeserver and base_url in it", `answer with {"m.homeserver": {"base_url": "https://…"}}`)
		return
	}
	x.crossOrigin(where, answer.header)
	base := strings.TrimRight(said.Homeserver.BaseURL, "/")
	if x.PublicURL != "" && base != strings.TrimRight(x.PublicURL, "/") {
		x.warn(area, where, "it leads clients to "+base+", client.public_url says "+x.PublicURL, "correct the one that is wrong")
	}
	if x.homeserver(where, base) {
		x.upload(base)
	}
}

// crossOrigin looks whether clients that run in a browser may read an answer.
//
// spec:client-server-api#web-browser-clients
func (x *examination) crossOrigin(where string, h http.Header) {
	switch allowed := h.Values("Access-Control-Allow-Origin"); {
	case len(allowed) > 1 || len(allowed) == 1 && strings.Contains(allowed[0], ","):
		x.warn("clients", where, "it has the header Access-Control-Allow-Origin twice: browsers take that as none", "let only one of homeserver and proxy set it")
	case len(allowed) == 0 || allowed[0] != "*":
		x.warn("clients", where, "it lacks the header Access-Control-Allow-Origin: *", "add it: clients that run in a browser may not read the answer without")
	}
}

// homeserver looks whether the client-server API of the server is where clients are led by what is at found.
func (x *examination) homeserver(found, base string) bool {
	const area = "clients"
	versions := base + "/_matrix/client/versions"
	if !strings.HasPrefix(base, "https://") {
		x.warn(area, found, "it leads clients to "+base+", which is not https: clients that run in a browser refuse it, and on the way all can be read", "give the https address")
	}
	answer, err := x.web(versions)
	var list struct {
		Versions []string `json:"versions"`
	}
	switch {
	case err != nil && strings.Contains(err.Error(), "certificate"):
		x.warn(area, versions, err.Error(), "clients don't believe it: it needs a valid certificate, with its whole chain, for the name in the base_url of "+found)
		return false
	case err != nil:
		x.warn(area, versions, err.Error(), "the base_url in "+found+" must lead to the client-server API")
		return false
	case answer.status != http.StatusOK || exactjson.Unmarshal(answer.body, &list) != nil || len(list.Versions) == 0:
		x.warn(area, versions, fmt.Sprintf("the answer is %d and not a list of versions", answer.status), "forward /_matrix to the homeserver there")
		return false
	}
	x.crossOrigin(versions, answer.header)
	// Most servers tell their name there as well; it needn't be.
	var other struct {
		Name string `json:"server_name"`
	}
	if answer, err := x.web(base + "/_matrix/key/v2/server"); err == nil && answer.status == http.StatusOK && exactjson.Unmarshal(answer.body, &other) == nil &&
		other.Name != "" && other.Name != string(x.name) {
		x.warn(area, base, "the homeserver there is "+other.Name, "correct the base_url in "+found+", or what forwards to that homeserver")
		return false
	}
	x.fine(area, versions, "clients find the homeserver, up to version %s", list.Versions[len(list.Versions)-1])
	return true
}

// oauth looks whether clients find at base how users log in by OAuth 2.0, and browsers the pages for that.
//
// spec:client-server-api#get_matrixclientv1auth_metadata
func (x *examination) oauth(base string) {
	const area = "OAuth 2.0"
	where := base + "/_matrix/client/v1/auth_metadata"
	answer, err := x.web(where)
	var said struct {
		Authorization string `json:"authorization_endpoint"`
		Account       string `json:"account_management_uri"`
	}
	switch {
	case err != nil:
		x.warn(area, where, "oauth.enabled is set, but "+err.Error(), "client.public_url must lead to hanse, by https with a valid certificate")
		return
	case answer.status == http.StatusNotFound:
		x.warn(area, where, "oauth.enabled is set, but the answer is 404: clients go on with /login",
			"restart hanse if the setting is new; else let what stands at client.public_url forward /_matrix/ to hanse")
		return
	case answer.status != http.StatusOK || exactjson.Unmarshal(answer.body, &said) != nil || said.Authorization == "":
		x.warn(area, where, fmt.Sprintf("oauth.enabled is set, but the answer is %d and no metadata", answer.status), "let what stands at client.public_url forward /_matrix/ to hanse")
		return
	case !strings.HasPrefix(said.Authorization, base+"/"):
		x.warn(area, where, "it leads users to "+said.Authorization+", client.public_url says "+base, "restart hanse if client.public_url is new; else correct it, or what forwards to another homeserver")
		return
	}
	x.crossOrigin(where, answer.header)
	page, err := x.web(said.Account)
	if err == nil && (page.status != http.StatusOK || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html")) {
		err = fmt.Errorf("the answer is %d, of the type %s", page.status, header(page.header, "Content-Type"))
	}
	if err != nil {
		x.warn(area, said.Account, "the pages on which users log in can't be seen: "+err.Error(), "let what stands at client.public_url forward all of /_matrix/ to hanse, not only /_matrix/client/")
		return
	}
	x.fine(area, where, "clients find how to log in by OAuth 2.0, and browsers the pages")
}

// wellKnownSupport looks whether those who look for help find whom to ask, where somebody wants them to.
//
// spec:client-server-api#getwell-knownmatrixsupport
func (x *examination) wellKnownSupport() {
	where := "https://" + x.name.Host() + "/.well-known/matrix/support"
	const area = "support"
	answer, err := x.web(where)
	if err != nil || answer.status != http.StatusOK {
		if x.Support {
			x.warn(area, where, "who helps is configured (support), but nobody finds it there", "forward /.well-known/matrix/ to hanse, or publish the file where the name's web site is")
		}
		return
	}
	var said struct {
		Contacts []json.RawMessage `json:"contacts"`
		Page     string            `json:"support_page"`
	}
	if exactjson.Unmarshal(answer.body, &said) != nil || len(said.Contacts) == 0 && said.Page == "" {
		x.warn(area, where, "it is no JSON with contacts or a support_page in it", `answer with {"contacts": [{"role": "m.role.admin", "matrix_id": "@…"}]}, or with 404`)
		return
	}
	x.fine(area, where, "who looks for help finds %d contacts, and a page: %t", len(said.Contacts), said.Page != "")
}

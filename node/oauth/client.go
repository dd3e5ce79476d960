package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"hanse/federation/exactjson"
)

// Bounds of what a client may say of itself: those of deployed clients have some 500 bytes in all.
const (
	maxRedirectURIs = 10
	maxURIBytes     = 2048
	maxNameBytes    = 100 // a person reads it
)

// The grants that there are.
//
// spec:client-server-api#grant-types
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// Client is what a client says of itself, as far as this server keeps it. It is the answer to its registration, too.
//
// spec:client-server-api#client-metadata
type Client struct {
	URI             string   `json:"client_uri"`
	Name            string   `json:"client_name,omitempty"`
	LogoURI         string   `json:"logo_uri,omitempty"`
	TermsURI        string   `json:"tos_uri,omitempty"`
	PolicyURI       string   `json:"policy_uri,omitempty"`
	RedirectURIs    []string `json:"redirect_uris,omitempty"`
	ResponseTypes   []string `json:"response_types"`
	GrantTypes      []string `json:"grant_types"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
	ApplicationType string   `json:"application_type"`
}

// ReadClient reads what a client says of itself, and leaves out what this server doesn't know. The error is an *Error.
//
// spec:client-server-api#client-registration
func ReadClient(raw []byte) (Client, error) {
	c := Client{ApplicationType: "web", AuthMethod: "none", GrantTypes: []string{GrantCode}, ResponseTypes: []string{"code"}}
	if err := exactjson.Unmarshal(raw, &c); err != nil {
		return c, Refuse(InvalidClientMetadata, "the body is no JSON object with metadata of a client")
	}
	return c, c.check()
}

// StoredClient is the client of which Stored was kept.
func StoredClient(raw []byte) (c Client, err error) { return c, exactjson.Unmarshal(raw, &c) }

// Stored is a client in the form in which it is kept. Who says the same of itself has the same form, and so the same ID: there
// are few clients, and each would be there as often as it logs in.
func (c Client) Stored() (clientID string, raw []byte, err error) {
	raw, err = json.Marshal(c)
	hash := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(hash[:16]), raw, err
}

func (c *Client) check() error {
	home, err := readWebURI(c.URI)
	switch {
	case c.URI == "":
		return Refuse(InvalidClientMetadata, "client_uri is missing")
	case err != nil:
		return Refuse(InvalidClientMetadata, "client_uri %v", err)
	case !strings.Contains(home.Hostname(), ".") && !strings.Contains(home.Hostname(), ":"):
		return Refuse(InvalidClientMetadata, "client_uri must have the full name of a host")
	case c.ApplicationType != "web" && c.ApplicationType != "native":
		return Refuse(InvalidClientMetadata, "application_type must be web or native")
	case c.AuthMethod != "none":
		return Refuse(InvalidClientMetadata, "token_endpoint_auth_method must be none: clients of Matrix keep no secrets from their users")
	case len(c.Name) > maxNameBytes:
		return Refuse(InvalidClientMetadata, "client_name has more than %d bytes", maxNameBytes)
	case !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Refuse(InvalidClientMetadata, "client_name has characters that can't be shown")
	}
	for name, text := range map[string]string{"logo_uri": c.LogoURI, "tos_uri": c.TermsURI, "policy_uri": c.PolicyURI} {
		if text == "" {
			continue
		}
		uri, err := readWebURI(text)
		switch {
		case err != nil:
			return Refuse(InvalidClientMetadata, "%s %v", name, err)
		case !under(uri.Hostname(), home.Hostname()):
			return Refuse(InvalidClientMetadata, "%s is neither on the host of client_uri nor below it", name)
		}
	}
	c.GrantTypes = known(c.GrantTypes, GrantCode, GrantRefresh, GrantDevice)
	c.ResponseTypes = known(c.ResponseTypes, "code")
	switch {
	case len(c.GrantTypes) == 0:
		return Refuse(InvalidClientMetadata, "grant_types has none that this server supports")
	case c.May(GrantCode) && len(c.RedirectURIs) == 0:
		return Refuse(InvalidRedirectURI, "redirect_uris is missing, which the grant authorization_code needs")
	case len(c.RedirectURIs) > maxRedirectURIs:
		return Refuse(InvalidRedirectURI, "there may be %d redirect_uris at most", maxRedirectURIs)
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirect(uri, home.Hostname(), c.ApplicationType == "native"); err != nil {
			return Refuse(InvalidRedirectURI, "the redirect URI %s %v", uri, err)
		}
	}
	return nil
}

// known are those of the values that are known, each once, in the order of the known ones.
func known(values []string, known ...string) []string {
	return slices.DeleteFunc(known, func(k string) bool { return !slices.Contains(values, k) })
}

// May tells whether the client said that it uses a grant.
func (c Client) May(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

// Host is the host that the client says it is from: it is what a person may know it by.
func (c Client) Host() string {
	uri, err := url.Parse(c.URI)
	if err != nil {
		return "" // check has read it
	}
	return uri.Hostname()
}

// under tells whether a host is the other, or a subdomain of it.
func under(host, base string) bool {
	host, base = strings.ToLower(host), strings.ToLower(base)
	return host == base || strings.HasSuffix(host, "."+base)
}

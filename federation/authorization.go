package federation

import (
	"errors"
	"strings"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// ErrOtherScheme is returned for an Authorization header of a scheme that is not X-Matrix. Such a header is none of
// ours and is skipped, not refused.
var ErrOtherScheme = errors.New("the Authorization header's scheme is not X-Matrix")

// ErrOrigin is returned for a header that does not name a server as the one who signed.
var ErrOrigin = errors.New("the X-Matrix header's origin is not a server name")

// Authorization is one X-Matrix Authorization header: a signature over a request.
//
// spec:server-server-api#request-authentication
type Authorization struct {
	Origin      id.ServerName // who asks
	Destination id.ServerName // who is asked; "" when an old server left it out
	Key         id.KeyID      // the key of Origin that made Signature
	Signature   []byte
}

// ParseAuthorization reads one header value. The result's identifiers are valid. Errors: ErrOtherScheme, ErrOrigin, or
// a text that says what is wrong with the header, fit to be sent back.
//
// Parameter names are case-insensitive, values tokens or quoted strings, and unquoted values may hold colons; unknown
// parameters are ignored. The spec names the signature `signature` in its text and `sig` in its examples; deployed
// servers send `sig`. Both are read. A parameter given twice is refused, as nobody could tell which one counts.
func ParseAuthorization(header string) (Authorization, error) {
	if len(header) > MaxAuthorization {
		return Authorization{}, errors.New("the X-Matrix header is too long")
	}
	rest, err := cutScheme(header)
	if err != nil {
		return Authorization{}, err
	}
	params := make(map[string]string, 4)
	for len(rest) > 0 {
		name, value, after, err := parseParameter(rest)
		if err != nil {
			return Authorization{}, err
		}
		if _, twice := params[name]; twice {
			return Authorization{}, errors.New("the X-Matrix header has a parameter twice")
		}
		params[name] = value
		rest = after
	}
	return authorizationOf(params)
}

// cutScheme takes the scheme and the spaces behind it off the header.
func cutScheme(header string) (string, error) {
	const scheme = "X-Matrix"
	header = strings.Trim(header, " \t")
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", ErrOtherScheme
	}
	rest := header[len(scheme):]
	if rest == "" {
		return "", errors.New("the X-Matrix header has no parameters")
	}
	if rest[0] != ' ' && rest[0] != '\t' {
		return "", ErrOtherScheme // "X-Matrixfoo"
	}
	return strings.Trim(rest, " \t"), nil
}

// parseParameter reads one name=value pair and the comma (with the blanks around it) that follows. Empty list
// elements are skipped, as RFC 9110 section 5.6.1.2 asks of a recipient.
func parseParameter(s string) (name, value, rest string, err error) {
	s = strings.TrimLeft(s, " \t,")
	end := strings.IndexByte(s, '=')
	if end < 0 {
		return "", "", "", errors.New("the X-Matrix header has a parameter without a value")
	}
	name = strings.ToLower(strings.TrimRight(s[:end], " \t"))
	if !isToken(name, false) {
		return "", "", "", errors.New("the X-Matrix header has a parameter without a proper name")
	}
	s = strings.TrimLeft(s[end+1:], " \t")
	if strings.HasPrefix(s, `"`) {
		value, s, err = parseQuoted(s[1:])
		if err != nil {
			return "", "", "", err
		}
	} else {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		value, s = s[:end], s[end:]
		if !isToken(value, true) {
			return "", "", "", errors.New("the X-Matrix header has a value that needs quotes")
		}
	}
	s = strings.TrimLeft(s, " \t")
	if s != "" && s[0] != ',' {
		return "", "", "", errors.New("the X-Matrix header has no comma between its parameters")
	}
	return name, value, strings.TrimLeft(s, " \t,"), nil
}

// parseQuoted reads a quoted string after its opening quote, taking backslashes off.
func parseQuoted(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", "", errors.New("the X-Matrix header has a control character in a value")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("the X-Matrix header has a quoted value without an end")
}

// isToken tells whether s is a token (RFC 9110 section 5.6.2), with further characters if it is an unquoted value:
// colons, which the spec asks for, and what base64 and IPv6 literals have beyond that, since they can't be mistaken
// for anything else.
func isToken(s string, value bool) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		case value && strings.IndexByte(":/=[]", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// authorizationOf checks and converts the parameters of a header.
func authorizationOf(params map[string]string) (Authorization, error) {
	var a Authorization
	var err error
	if a.Origin, err = id.ParseServerName(params["origin"]); err != nil {
		return Authorization{}, ErrOrigin
	}
	if destination, ok := params["destination"]; ok {
		if a.Destination, err = id.ParseServerName(destination); err != nil {
			return Authorization{}, errors.New("the X-Matrix header's destination is not a server name")
		}
	}
	if a.Key, err = id.ParseKeyID(params["key"]); err != nil {
		return Authorization{}, errors.New("the X-Matrix header's key is not a key ID")
	}
	sig, ok := params["sig"]
	if !ok {
		sig = params["signature"]
	}
	if a.Signature, err = signedjson.DecodeBase64(sig); err != nil || len(a.Signature) == 0 {
		return Authorization{}, errors.New("the X-Matrix header's signature is not base64")
	}
	return a, nil
}

// String is the header's value, in the form the oldest deployed servers understand: lower-case names, everything
// quoted, no blanks. None of the values can hold a quote or a backslash.
func (a Authorization) String() string {
	var b strings.Builder
	b.Grow(200)
	b.WriteString(`X-Matrix origin="`)
	b.WriteString(string(a.Origin))
	if a.Destination != "" {
		b.WriteString(`",destination="`)
		b.WriteString(string(a.Destination))
	}
	b.WriteString(`",key="`)
	b.WriteString(string(a.Key))
	b.WriteString(`",sig="`)
	b.WriteString(signedjson.EncodeBase64(a.Signature))
	b.WriteByte('"')
	return b.String()
}

// RequestBytes is what an X-Matrix signature covers: the canonical JSON of the request's method, target (the path and
// query as sent, still escaped), server names and content. content is the body's JSON object; nil or empty when the
// request has no body. It need not be canonical. Errors are canonicaljson's, about content.
//
// Numbers are taken leniently: events of room versions 1 to 5 may hold any.
//
// spec:server-server-api#request-authentication
func RequestBytes(method, uri string, origin, destination id.ServerName, content []byte) ([]byte, error) {
	dst := make([]byte, 0, len(content)+len(uri)+len(origin)+len(destination)+len(method)+80)
	dst = append(dst, '{')
	if len(content) > 0 {
		var err error
		dst = append(dst, `"content":`...)
		if dst, err = canonicaljson.Append(dst, content, canonicaljson.Lenient); err != nil {
			return nil, err
		}
		dst = append(dst, ',')
	}
	dst = append(dst, `"destination":`...)
	dst = appendString(dst, string(destination))
	dst = append(dst, `,"method":`...)
	dst = appendString(dst, method)
	dst = append(dst, `,"origin":`...)
	dst = appendString(dst, string(origin))
	dst = append(dst, `,"uri":`...)
	dst = appendString(dst, uri)
	return append(dst, '}'), nil
}

// SignRequest makes the header for a request; the arguments are those of RequestBytes.
func SignRequest(key signedjson.Key, method, uri string, origin, destination id.ServerName, content []byte) (Authorization, error) {
	message, err := RequestBytes(method, uri, origin, destination, content)
	if err != nil {
		return Authorization{}, err
	}
	return Authorization{Origin: origin, Destination: destination, Key: key.ID, Signature: ed25519.Sign(key.Private, message)}, nil
}

package email

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
)

// maxAddressBytes and maxLocalBytes are the longest address and the longest part before its @ that SMTP knows.
const (
	maxAddressBytes = 254
	maxLocalBytes   = 64
)

var errAddress = errors.New("this is not an e-mail address such as alice@example.org")

// Canonical is the one form of an address by which it is told from others, and to which mails go: all of it case-folded. Addresses with
// quotes, comments or an IP address, or of a name without a dot, are refused.
//
// Nothing may ever be sent to the form that somebody gave: two forms that fold to the same can be two mailboxes, of two people.
//
// spec:appendices#e-mail
func Canonical(address string) (string, error) {
	if len(address) > maxAddressBytes || !utf8.ValidString(address) {
		return "", errAddress
	}
	folded := cases.Fold().String(address)
	local, domain, _ := strings.Cut(folded, "@")
	if local == "" || len(local) > maxLocalBytes || len(folded) > maxAddressBytes || strings.ContainsFunc(local, noAtom) {
		return "", errAddress
	}
	if _, err := idna.Lookup.ToASCII(domain); err != nil || strings.Trim(domain, ".") != domain || !strings.Contains(domain, ".") || lastIsNumber(domain) {
		return "", errAddress
	}
	return folded, nil
}

// noAtom tells what stands in no unquoted local part.
func noAtom(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune(`()<>[]:;@\,"`, r)
}

// lastIsNumber tells an IP address, which is no name.
func lastIsNumber(domain string) bool {
	last := domain[strings.LastIndexByte(domain, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}

// deliverable is a canonical address as SMTP has it: the domain in ASCII. What is before the @ may be other than ASCII, which not
// all servers take.
func deliverable(address string) (string, error) {
	canonical, err := Canonical(address)
	if err != nil || canonical != address {
		return "", errAddress
	}
	local, domain, _ := strings.Cut(address, "@")
	domain, err = idna.Lookup.ToASCII(domain)
	return local + "@" + domain, err
}

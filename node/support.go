package node

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"

	"hanse/federation/id"
	"hanse/node/clientapi"
)

// support is what is published of who helps.
func (c Config) support() (clientapi.Support, error) {
	admins, err := contacts("m.role.admin", c.Support.Admin)
	if err != nil {
		return clientapi.Support{}, fmt.Errorf("support.admin: %w", err)
	}
	security, err := contacts("m.role.security", c.Support.Security)
	if err != nil {
		return clientapi.Support{}, fmt.Errorf("support.security: %w", err)
	}
	return clientapi.Support{Contacts: append(admins, security...), Page: c.Support.Page}, nil
}

// contacts are users and e-mail addresses, told apart by the @ at a user's beginning.
func contacts(role string, texts []string) ([]clientapi.Contact, error) {
	var all []clientapi.Contact
	for _, text := range texts {
		contact := clientapi.Contact{Role: role}
		var err error
		if strings.HasPrefix(text, "@") {
			contact.MatrixID, err = id.ParseUserID(text)
		} else {
			var parsed *mail.Address
			if parsed, err = mail.ParseAddress(text); err == nil && parsed.Address != text {
				err = errors.New("there is more than the address")
			}
			contact.EMailAddress = text
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither a user such as @admin:example.org nor an e-mail address such as admin@example.org", text)
		}
		all = append(all, contact)
	}
	return all, nil
}

// webAddress tells whether a text is an address that a browser can open.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

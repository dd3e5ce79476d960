package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"os"
	"slices"
	"strings"
	"unicode"

	"hanse/node/clientapi"
	"hanse/node/email"
)

// validateEmail says what is wrong with the settings of mails.
func (c Config) validateEmail(wrong report) {
	e := c.Email
	if c.Registration.RequireEmail && e.Host == "" {
		wrong("registration.require_email", "needs email.host: nobody could confirm an address")
	}
	if e.Host == "" {
		for setting, value := range map[string]string{"from": e.From, "user": e.User, "password": e.Password, "password_file": e.PasswordFile} {
			if value != "" {
				wrong("email."+setting, "is given without email.host; name the mail server, or leave it out")
			}
		}
		return
	}
	if strings.ContainsAny(e.Host, ":/ ") && net.ParseIP(e.Host) == nil {
		wrong("email.host", "%q is not the name of a machine; the port is a setting of its own", e.Host)
	}
	if e.Port < 0 || e.Port > 65535 {
		wrong("email.port", "%d is not between 1 and 65535", e.Port)
	}
	if c.Client.PublicURL == "" {
		wrong("client.public_url", "is missing; the links in mails lead there")
	}
	switch email.Encryption(e.Encryption) {
	case email.StartTLS, email.TLS:
	case email.None:
		if !loopback(e.Host) {
			wrong("email.encryption", "none is only for a mail server on this machine, such as localhost: what mails say, and the password, could be read on the way")
		}
	default:
		wrong("email.encryption", "%q is unknown; use starttls, tls or none", e.Encryption)
	}
	if _, err := mail.ParseAddress(e.From); err != nil {
		wrong("email.from", "%q is not an e-mail address such as Example <noreply@example.org>", e.From)
	}
	if strings.ContainsFunc(e.Name, unicode.IsControl) {
		wrong("email.name", "%q has characters that can't be shown", e.Name)
	}
	switch password, err := e.password(); {
	case err != nil:
		wrong("email.password_file", "%v", err)
	case e.Password != "" && e.PasswordFile != "":
		wrong("email.password", "is given as well as email.password_file; give one of the two")
	case (e.User == "") != (password == ""):
		wrong("email.user", "and the password are given together, or neither is")
	}
	for _, host := range e.NextLinks {
		if host == "" || strings.ContainsAny(host, "/@ *") || strings.ToLower(host) != host {
			wrong("email.next_links", "%q is not a host in lower case such as app.element.io, without https:// and without a path", host)
		}
	}
}

// password is what to log in with at the mail server.
func (e EmailConfig) password() (string, error) {
	if e.PasswordFile == "" {
		return e.Password, nil
	}
	text, err := os.ReadFile(e.PasswordFile)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("%s must have the password in one line, and nothing else", e.PasswordFile)
	}
	return password, nil
}

func (e EmailConfig) site(server string) email.Site { return email.Site{Name: e.Name, Server: server} }

// mailSender sends mails by the mail server; c has its defaults.
func (c Config) mailSender() (*email.Sender, error) {
	password, err := c.Email.password()
	if err != nil {
		return nil, fmt.Errorf("email.password_file: %w", err)
	}
	roots, err := c.trustedCAs()
	if err != nil {
		return nil, fmt.Errorf("federation.trusted_cas: %w", err)
	}
	hello := c.ServerName
	if host, _, err := net.SplitHostPort(hello); err == nil {
		hello = host
	}
	return email.New(email.Config{
		Host: c.Email.Host, Port: c.Email.Port, Encryption: email.Encryption(c.Email.Encryption), User: c.Email.User, Password: password,
		From: c.Email.From, Hello: hello, Roots: roots,
	})
}

// email is how the API sends mails; nil: it doesn't.
func (n *Node) email() (*clientapi.Email, error) {
	if n.config.Email.Host == "" {
		return nil, nil
	}
	sender, err := n.config.mailSender()
	if err != nil {
		return nil, err
	}
	n.registerMails(sender)
	return &clientapi.Email{Send: sender.Send, Site: n.config.Email.site(n.config.ServerName), NextLinks: slices.Clone(n.config.Email.NextLinks)}, nil
}

// TestEmail sends a mail to an address by the settings, as the server would.
func (c Config) TestEmail(ctx context.Context, address string) error {
	c = c.withDefaults()
	if c.Email.Host == "" {
		return errors.New("email.host is not set: no mails are sent; `hanse config example` explains the settings of email")
	}
	var problems []error
	c.validateEmail(func(path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	})
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	to, err := email.Canonical(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	sender, err := c.mailSender()
	if err != nil {
		return err
	}
	return sender.Send(ctx, c.Email.site(c.ServerName).Trial(to))
}

// mails looks whether the mail server takes us.
func (d *diagnosis) mails(ctx context.Context) {
	if d.config.Email.Host == "" {
		d.note("mail", "email.host", "no mails are sent: who forgets the password needs you", "set email, or give new passwords by `hanse users password`")
		return
	}
	sender, err := d.config.mailSender()
	if err != nil {
		return // Validate has said what is wrong
	}
	if err := sender.Check(ctx); err != nil {
		d.wrong("mail", sender.Address(), err.Error(), "see the settings of email; `hanse email test ADDRESS` tries it again")
		return
	}
	d.fine("mail", sender.Address(), "the mail server can be reached and takes our login; `hanse email test ADDRESS` sends a mail")
}

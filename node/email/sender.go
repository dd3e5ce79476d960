// Package email sends mails through a mail server (SMTP), says what the server's mails say, and knows the form of addresses.
//
// It knows nothing of accounts: who gets which mail, and what follows from it, is the caller's part.
package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Encryption is how the connection to the mail server is kept from others.
type Encryption string

// The kinds of encryption. With the first two a server that can't encrypt, or whose certificate isn't good, gets neither login nor mail.
const (
	StartTLS Encryption = "starttls" // the connection begins in plain text
	TLS      Encryption = "tls"      // from the first byte on
	None     Encryption = "none"     // for a server on the same machine
)

// Port is the one that mail servers have for it by custom.
func (e Encryption) Port() int {
	switch e {
	case TLS:
		return 465
	case None:
		return 25
	}
	return 587
}

// Config says which mail server sends, and in whose name.
type Config struct {
	Host       string
	Port       int // 0: that of the encryption
	Encryption Encryption
	User       string // "": without a login
	Password   string
	From       string // an address, also with a name before it: Example <noreply@example.org>
	Hello      string // what this machine calls itself to the server
	// Roots are the certificate authorities to trust; nil: the system's.
	Roots *x509.CertPool
}

// Bounds of a mail's way.
const (
	// sendTimeout is how long a mail may take, with the wait for its turn: somebody waits for the answer.
	sendTimeout = 20 * time.Second
	// maxSending is how many mails are sent at once, maxWaiting how many others wait for their turn: who comes on top is sent away, so that a
	// mail server that hangs holds up no more than that.
	maxSending = 4
	maxWaiting = 100
)

// The errors that a caller tells apart; all others are the mail server's, or of the way to it.
var (
	// ErrBusy says that too many mails wait already.
	ErrBusy = errors.New("too many mails are being sent at once")
	// ErrRefusedAddress says that the mail server doesn't take mails to the address, and will not.
	ErrRefusedAddress = errors.New("refuses the address")
)

// Sender sends mails, each over a connection of its own. Safe for concurrent use.
type Sender struct {
	config  Config
	from    *mail.Address
	places  chan struct{} // holds a value for each mail being sent
	waiting atomic.Int64

	sent, failed atomic.Int64
}

// Counts tells how many mails the mail server has taken, and how many could not be handed to it.
func (s *Sender) Counts() (sent, failed int64) { return s.sent.Load(), s.failed.Load() }

// New makes a sender; it connects to nobody. The error is about From.
func New(c Config) (*Sender, error) {
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("%q is not an e-mail address such as Example <noreply@example.org>", c.From)
	}
	if c.Encryption == "" {
		c.Encryption = StartTLS
	}
	if c.Port == 0 {
		c.Port = c.Encryption.Port()
	}
	return &Sender{config: c, from: from, places: make(chan struct{}, maxSending)}, nil
}

// Address is where the mail server is: host:port.
func (s *Sender) Address() string {
	return net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.Port))
}

// Send hands a mail to the mail server, within 20 s. Without an error the server has taken it; what becomes of it then is the server's
// part. The error says at which step it failed, and what the server answered.
func (s *Sender) Send(ctx context.Context, m Mail) error {
	err := s.send(ctx, m)
	if err != nil {
		s.failed.Add(1)
	} else {
		s.sent.Add(1)
	}
	return err
}

func (s *Sender) send(ctx context.Context, m Mail) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if s.waiting.Add(1) > maxWaiting+maxSending {
		s.waiting.Add(-1)
		return ErrBusy
	}
	defer s.waiting.Add(-1)
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-ctx.Done():
		return fmt.Errorf("other mails wait for the mail server %s: %w", s.Address(), ctx.Err())
	}
	to, err := deliverable(m.To)
	if err != nil {
		return err
	}
	m.To = to
	text, err := m.text(s.from, time.Now())
	if err != nil {
		return err
	}
	return s.connected(ctx, func(c *smtp.Client) error {
		if err := c.Mail(s.from.Address); err != nil {
			return fmt.Errorf("doesn't take mails from %s: %w", s.from.Address, err)
		}
		if err := c.Rcpt(to); err != nil {
			if answer, ok := errors.AsType[*textproto.Error](err); ok && answer.Code >= 500 {
				return fmt.Errorf("%w %s: %w", ErrRefusedAddress, to, err)
			}
			return fmt.Errorf("doesn't take mails to %s: %w", to, err)
		}
		body, err := c.Data()
		if err == nil {
			if _, err = body.Write(text); err == nil {
				err = body.Close()
			}
		}
		if err != nil {
			return fmt.Errorf("didn't take the mail: %w", err)
		}
		return nil
	})
}

// Check connects to the mail server and logs in, within 20 s, and sends nothing.
func (s *Sender) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return s.connected(ctx, (*smtp.Client).Noop)
}

// connected does something on a connection that is encrypted and logged in, as far as that is configured.
func (s *Sender) connected(ctx context.Context, do func(*smtp.Client) error) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Address())
	if err != nil {
		return fmt.Errorf("the mail server %s can't be reached: %w", s.Address(), err)
	}
	defer conn.Close() //nolint:errcheck // what matters was answered
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	err = s.talk(conn, do)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // the error is that of the deadline, which says less
		err = fmt.Errorf("it took too long: %w", errors.Join(ctx.Err(), err))
	}
	return fmt.Errorf("the mail server %s %w", s.Address(), err)
}

func (s *Sender) talk(conn net.Conn, do func(*smtp.Client) error) error {
	trust := &tls.Config{ServerName: s.config.Host, RootCAs: s.config.Roots, MinVersion: tls.VersionTLS12}
	if s.config.Encryption == TLS {
		conn = tls.Client(conn, trust)
	}
	c, err := smtp.NewClient(conn, s.config.Host)
	if err != nil {
		return fmt.Errorf("doesn't answer as one with email.encryption %s: %w", s.config.Encryption, err)
	}
	if err := c.Hello(s.config.Hello); err != nil {
		return fmt.Errorf("doesn't take our greeting: %w", err)
	}
	if s.config.Encryption == StartTLS {
		if offered, _ := c.Extension("STARTTLS"); !offered {
			return errors.New("offers no STARTTLS; if it encrypts from the first byte on, as on port 465, set email.encryption to tls")
		}
		if err := c.StartTLS(trust); err != nil {
			return fmt.Errorf("can't encrypt: %w", err)
		}
	}
	if s.config.User != "" {
		if err := s.logIn(c); err != nil {
			return err
		}
	}
	if err := do(c); err != nil {
		return err
	}
	_ = c.Quit() // all that matters was answered
	return nil
}

func (s *Sender) logIn(c *smtp.Client) error {
	_, offered := c.Extension("AUTH")
	methods := strings.Fields(strings.ToUpper(offered))
	var method smtp.Auth
	switch {
	case slices.Contains(methods, "PLAIN"):
		method = smtp.PlainAuth("", s.config.User, s.config.Password, s.config.Host)
	case slices.Contains(methods, "LOGIN"):
		method = &loginAuth{s.config.User, s.config.Password}
	default:
		return fmt.Errorf("takes no login by PLAIN or LOGIN (it offers %q); leave out email.user if it needs none", offered)
	}
	if err := c.Auth(method); err != nil {
		return fmt.Errorf("refuses the login: %w", err)
	}
	return nil
}

// loginAuth is the login that some servers have instead of PLAIN: they ask for the name, then for the password.
type loginAuth struct{ user, password string }

func (l *loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS { // as net/smtp's PLAIN does it
		return "", nil, errors.New("the connection is not encrypted")
	}
	return "LOGIN", nil, nil
}

func (l *loginAuth) Next(question []byte, more bool) ([]byte, error) {
	switch asked := strings.ToLower(string(question)); {
	case !more:
		return nil, nil
	case strings.HasPrefix(asked, "user"):
		return []byte(l.user), nil
	case strings.HasPrefix(asked, "pass"):
		return []byte(l.password), nil
	}
	return nil, fmt.Errorf("it asks for %q", question)
}

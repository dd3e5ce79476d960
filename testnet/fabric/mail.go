package fabric

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
)

// MailConfig says how a mail server is.
type MailConfig struct {
	// Certificate encrypts: by STARTTLS, or from the first byte on with FromTheStart. Nil: it can't encrypt.
	Certificate  *tls.Certificate
	FromTheStart bool
	// Methods are the logins that it takes, PLAIN and LOGIN, on a connection that is encrypted; User and Password are who may. None: it needs
	// no login.
	Methods        []string
	User, Password string
	// Answer may answer a command in place of the server, with something else than "". It may take as long as it likes. Nil: it never does.
	Answer func(command string) string
}

// ReceivedMail is a mail that a server took.
type ReceivedMail struct {
	From, To string // of the envelope
	Text     string // headers and all, with lines that end with \n
}

// MailServer takes mails by SMTP and keeps them. Safe for concurrent use.
type MailServer struct {
	config   MailConfig
	listener net.Listener

	mu    sync.Mutex
	mails []ReceivedMail // guarded by mu
}

// ListenMail makes a mail server on a TCP address; port 0 picks a free one. It answers once Run is called.
func ListenMail(address string, c MailConfig) (*MailServer, error) {
	listener, err := net.Listen("tcp", address)
	return &MailServer{config: c, listener: listener}, err
}

// Port is where the server listens.
func (s *MailServer) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Mails are those that the server took, in their order.
func (s *MailServer) Mails() []ReceivedMail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ReceivedMail(nil), s.mails...)
}

// Run takes mails until ctx ends; connections end with it.
func (s *MailServer) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.listener.Close() })()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := s.listener.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		connections.Go(func() {
			defer conn.Close() //nolint:errcheck // a test's
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			_ = s.serve(conn) // clients come and go as they like
		})
	}
}

// serve is a connection's conversation, as RFC 5321, 3207 and 4954 have it.
func (s *MailServer) serve(conn net.Conn) error {
	encrypted := false
	if s.config.Certificate != nil && s.config.FromTheStart {
		conn, encrypted = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.config.Certificate}}), true
	}
	lines := textproto.NewReader(bufio.NewReader(conn))
	say := func(text string) error { _, err := io.WriteString(conn, text+"\r\n"); return err }
	ask := func(question string) (string, error) {
		if err := say("334 " + base64.StdEncoding.EncodeToString([]byte(question))); err != nil {
			return "", err
		}
		line, err := lines.ReadLine()
		text, _ := base64.StdEncoding.DecodeString(line)
		return string(text), err
	}
	if err := say("220 mail server of a test"); err != nil {
		return err
	}
	var mail ReceivedMail
	loggedIn := len(s.config.Methods) == 0
	for {
		line, err := lines.ReadLine()
		if err != nil {
			return err
		}
		answer := ""
		if s.config.Answer != nil {
			answer = s.config.Answer(line)
		}
		command, rest, _ := strings.Cut(line, " ")
		switch command = strings.ToUpper(command); {
		case answer != "":
		case command == "EHLO":
			answer = "250-hello\r\n"
			if s.config.Certificate != nil && !encrypted {
				answer += "250-STARTTLS\r\n"
			}
			if len(s.config.Methods) > 0 && encrypted {
				answer += "250-AUTH " + strings.Join(s.config.Methods, " ") + "\r\n"
			}
			answer += "250 SMTPUTF8"
		case command == "STARTTLS" && s.config.Certificate != nil && !encrypted:
			if err := say("220 go on"); err != nil {
				return err
			}
			conn, encrypted = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.config.Certificate}}), true
			lines = textproto.NewReader(bufio.NewReader(conn))
			continue
		case command == "AUTH":
			user, password := "", ""
			if text, plain := strings.CutPrefix(rest, "PLAIN "); plain {
				decoded, _ := base64.StdEncoding.DecodeString(text)
				if parts := strings.Split(string(decoded), "\x00"); len(parts) == 3 {
					user, password = parts[1], parts[2]
				}
			} else {
				if user, err = ask("Username:"); err != nil {
					return err
				}
				if password, err = ask("Password:"); err != nil {
					return err
				}
			}
			loggedIn = encrypted && user == s.config.User && password == s.config.Password
			answer = "235 welcome"
			if !loggedIn {
				answer = "535 5.7.8 wrong user or password"
			}
		case command == "NOOP", command == "RSET":
			answer = "250 fine"
		case command == "QUIT":
			return say("221 bye")
		case !loggedIn:
			answer = "530 5.7.0 log in first"
		case command == "MAIL":
			mail = ReceivedMail{From: between(rest)}
			answer = "250 fine"
		case command == "RCPT":
			mail.To = between(rest)
			answer = "250 fine"
		case command == "DATA":
			if err := say("354 go on"); err != nil {
				return err
			}
			text, err := io.ReadAll(lines.DotReader())
			if err != nil {
				return err
			}
			mail.Text = string(text)
			s.mu.Lock()
			s.mails = append(s.mails, mail)
			s.mu.Unlock()
			answer = "250 taken"
		default:
			answer = fmt.Sprintf("502 5.5.1 %s is not known", command)
		}
		if err := say(answer); err != nil {
			return err
		}
	}
}

// between is what stands between < and >.
func between(text string) string {
	_, text, _ = strings.Cut(text, "<")
	text, _, _ = strings.Cut(text, ">")
	return text
}

package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hanse/testnet/adapter"
	"hanse/testnet/user"
)

const secret = "torture" // of servers on loopback that live for minutes

// server is a homeserver that is started and killed.
type server struct {
	name    string
	command adapter.Command
	orders  adapter.Orders
	process *adapter.Process
	user    *user.User
	read    int64 // how much of the log was looked through
}

// newServer gives the server its place; it isn't started.
func (c *campaign) newServer(ctx context.Context, name string, place int, database func(context.Context, string) (string, error)) (*server, error) {
	s := &server{name: name + ".torture.test"}
	c.zone.AddAddress(s.name, c.places[place].IP)
	s.orders = adapter.Orders{
		ServerName: s.name, BindAddr: c.places[place].IP, DataDir: filepath.Join(c.options.Dir, name),
		CACert: c.ca, CAKey: c.caKey, CABundle: c.ca, DNSServer: c.dns.Addr(), SharedSecret: secret,
	}
	var err error
	if database != nil {
		if s.orders.DatabaseURL, err = database(ctx, name); err != nil {
			return nil, err
		}
	}
	if s.command, err = s.orders.Command(c.options.Program[0], c.options.Program[1:]...); err != nil {
		return nil, err
	}
	s.command.Env = append(s.command.Env, "HANSE_LOG=info")
	return s, nil
}

func (s *server) start(ctx context.Context) (err error) {
	s.process, err = adapter.Start(ctx, s.command)
	return err
}

func (s *server) kill() {
	if s.process != nil {
		s.process.Kill()
		s.process = nil
	}
	if s.user != nil {
		s.user.Close()
	}
}

func (s *server) stop() error {
	s.user.Close()
	err := s.process.Stop()
	s.process = nil
	return errors.Join(err, s.complaints())
}

// startAndKill starts the server and kills it after a while, ready or not. It is an error if it ends by itself.
func (s *server) startAndKill(ctx context.Context, after time.Duration) error {
	short, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	process, err := adapter.Start(short, s.command)
	if process != nil {
		process.Kill()
	}
	if err != nil && short.Err() == nil {
		return err
	}
	return ctx.Err()
}

// account makes the server's user, who works.
func (s *server) account(ctx context.Context) error {
	s.user = user.New(s.orders.ClientURL())
	if err := s.user.Register(ctx, "worker", "a password of the torture", secret); err != nil {
		return fmt.Errorf("making an account on %s: %w", s.name, err)
	}
	return nil
}

// complaints are the warnings and errors in the log since the last look: none is true, since nothing is wrong but that the
// process was killed.
func (s *server) complaints() error {
	log, err := os.ReadFile(s.command.LogFile)
	if err != nil {
		return err
	}
	news := log[min(s.read, int64(len(log))):]
	s.read = int64(len(log))
	for line := range bytes.Lines(news) {
		text := string(line)
		if strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") || strings.HasPrefix(text, "panic:") {
			if s.truly(text) {
				continue
			}
			return fmt.Errorf("%s complains: %s", s.name, strings.TrimSpace(text))
		}
	}
	return nil
}

// forgive passes over what the log has so far: it complains of what is true.
func (s *server) forgive() {
	if log, err := os.Stat(s.command.LogFile); err == nil {
		s.read = log.Size()
	}
}

// truly says that a complaint may be true: the peer's that the victim doesn't answer, and that of a write which took long
// on a machine that is busy with the torture.
func (s *server) truly(line string) bool {
	return strings.HasPrefix(s.name, "peer.") || strings.Contains(line, "the database is slow")
}

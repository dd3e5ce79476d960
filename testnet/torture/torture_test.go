package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"hanse/testnet/adapter"
)

// The environment sets how long the campaign is and repeats one: `make torture`.
const (
	killsVariable = "HANSE_TORTURE_KILLS" // on each database; 4 if not set
	seedVariable  = "HANSE_TORTURE_SEED"
	// restartVariable is a command that crashes and starts the PostgreSQL server: ".ci/postgres restart FOLDER".
	restartVariable = "HANSE_TORTURE_RESTART"
	mailVariable    = "HANSE_TORTURE_MAIL" // how many messages wait for a device whose server is out; 500 if not set
)

func number(t *testing.T, variable string, standard uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func TestKilledServersLoseNothing(t *testing.T) {
	program, err := adapter.Hanse(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("mail", func(t *testing.T) { waitingMail(t, program) })
	t.Run("SQLite", func(t *testing.T) { run(t, program, nil) })
	t.Run("PostgreSQL", func(t *testing.T) {
		server := os.Getenv("HANSE_TEST_POSTGRES")
		if server == "" {
			t.Skip("HANSE_TEST_POSTGRES is not set")
		}
		run(t, program, func(ctx context.Context, name string) (string, error) { return newDatabase(ctx, server, name) })
	})
}

// waitingMail: messages to a device whose server is out come when it is back, all, once and in order.
func waitingMail(t *testing.T, program string) {
	options := Options{Dir: t.TempDir(), Program: []string{program, "testnet", "node"}}
	report, err := MailThroughAnOutage(t.Context(), options, int(number(t, mailVariable, 500)))
	t.Logf("%+v", report)
	if err != nil {
		t.Fatal(err)
	}
}

// lines writes to the test's log as they come, for who watches a long campaign.
type lines struct{ t *testing.T }

func (l lines) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func run(t *testing.T, program string, database func(context.Context, string) (string, error)) {
	dir, err := os.MkdirTemp("", "hanse-torture-")
	if err != nil {
		t.Fatal(err)
	}
	seed := number(t, seedVariable, rand.Uint64())
	t.Logf("seed %d", seed)
	report, err := Run(t.Context(), Options{
		Kills: int(number(t, killsVariable, 4)), Seed: seed, Dir: dir, Program: []string{program, "testnet", "node"},
		Database: database, Restart: restart(database != nil), Out: lines{t},
	})
	t.Logf("%+v", report)
	if err != nil {
		t.Fatal(err) // the data stays for whoever looks into it
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// restart is the command that the environment names, for the server that isn't embedded.
func restart(served bool) func(context.Context) error {
	command := os.Getenv(restartVariable)
	if command == "" || !served {
		return nil
	}
	return func(ctx context.Context) error {
		if output, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
		return nil
	}
}

// newDatabase makes an empty PostgreSQL database.
func newDatabase(ctx context.Context, server, name string) (string, error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx) //nolint:errcheck // a test
	name = fmt.Sprintf("torture_%s_%d_%d", name, os.Getpid(), rand.Uint32())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		return "", err
	}
	before, query, _ := strings.Cut(server, "?")
	slash := strings.LastIndex(before, "/")
	return before[:slash+1] + name + "?" + query, nil
}

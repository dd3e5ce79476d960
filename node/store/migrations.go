package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hanse/federation/id"
)

// The schema, a file a step. A step that has been released never changes; a new one is added. Names begin with the
// schema version they lead to. The words INT64, BYTES, CHARS and KEYED stand for the dialect's.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

type migration struct {
	version    int
	statements []string
}

// migrations reads the embedded steps in order; they are numbered from 1 without holes.
func migrations(d Dialect) ([]migration, error) {
	words := strings.NewReplacer("INT64", d.Integer, "BYTES", d.Bytes, "CHARS", d.Text, "KEYED", d.TableEnd)
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("store: migration %s is not number %d", name, i+1)
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m := migration{version: i + 1}
		for statement := range strings.SplitSeq(withoutComments(string(text)), ";") {
			if s := strings.TrimSpace(statement); s != "" {
				m.statements = append(m.statements, words.Replace(s))
			}
		}
		all = append(all, m)
	}
	return all, nil
}

func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if code, _, found := strings.Cut(line, "--"); found {
			line = code + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// migrate brings the database to the newest schema, each step in a transaction of its own. The log says so of one that isn't new: with
// much in it that takes long.
func migrate(ctx context.Context, db *sql.DB, d Dialect, log *slog.Logger) error {
	steps, err := migrations(d)
	if err != nil {
		return err
	}
	create := "CREATE TABLE IF NOT EXISTS schema_version (version " + d.Integer + " NOT NULL)"
	if _, err := db.ExecContext(ctx, create); err != nil {
		// A process that was killed may have been about to make it.
		if _, err = db.ExecContext(ctx, create); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	have, err := checkTables(ctx, db, d, steps)
	if err != nil {
		return err
	}
	if have > len(steps) {
		return &SchemaError{Stored: have, Known: len(steps)}
	}
	began, upgrade := time.Now(), have > 0 && have < len(steps)
	if upgrade {
		log.Info("the database's schema is being brought up to date", "from", have, "to", len(steps))
		if err := run(ctx, db, d.Upgrading); err != nil {
			return err
		}
	}
	for _, step := range steps[have:] {
		end := func() {}
		if upgrade {
			end = sayUnderWay(log, step.version)
		}
		have, err := step.apply(ctx, db, d)
		end()
		if err != nil {
			return fmt.Errorf("store: migration to schema version %d: %w", step.version, err)
		}
		if have > len(steps) {
			return &SchemaError{Stored: have, Known: len(steps)}
		}
		if upgrade && step.version < len(steps) {
			log.Info("a step of it is done", "version", step.version, "after", time.Since(began).Round(time.Millisecond))
		}
	}
	if upgrade {
		log.Info("the database's schema is up to date", "took", time.Since(began))
		return run(ctx, db, d.Upgraded)
	}
	return nil
}

func run(ctx context.Context, db *sql.DB, statements []string) error {
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("store: %w, in: %s", err, statement)
		}
	}
	return nil
}

// sayUnderWay has the log say each sayPause that a step is being made, until end is called.
func sayUnderWay(log *slog.Logger, version int) (end func()) {
	began, done := time.Now(), make(chan struct{})
	go func() {
		tick := time.NewTicker(sayPause)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				log.Info("a step of it is under way: there is much in the database; who ends the process now has it begin this step anew",
					"version", version, "for", time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() { close(done) }
}

// checkTables refuses a database that is to be brought up to date and has not what its schema version promises: builds from
// before a release numbered their steps otherwise. To build on it would spoil it. It gives the version, 0 for a new database.
func checkTables(ctx context.Context, db *sql.DB, d Dialect, steps []migration) (have int, err error) {
	if err := db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_version").Scan(&have); err != nil {
		return 0, fmt.Errorf("store: reading the schema version: %w", err)
	}
	if have >= len(steps) {
		return have, nil
	}
	for _, step := range steps[:have] {
		for _, statement := range step.statements {
			table := createdTable.FindStringSubmatch(statement)
			if table == nil {
				continue
			}
			_, err := db.ExecContext(ctx, "SELECT 1 FROM "+table[1]+" WHERE 1 = 0")
			switch {
			case err == nil:
			case ctx.Err() != nil || d.Classify(err) != OtherError: // it tells nothing of the table: nobody is to restore a backup for it
				return 0, fmt.Errorf("store: looking for the table %s: %w", table[1], err)
			default:
				return 0, &UnfinishedSchemaError{Stored: have, Table: table[1], cause: err}
			}
		}
	}
	return have, nil
}

var createdTable = regexp.MustCompile(`^CREATE TABLE (\w+)`)

// apply makes the step unless the database has it; have is the version that it had.
func (m migration) apply(ctx context.Context, db *sql.DB, d Dialect) (have int, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if err := lock(ctx, tx, d, "schema_version"); err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_version").Scan(&have); err != nil {
		return 0, fmt.Errorf("reading the schema version: %w", err)
	}
	if have >= m.version {
		return have, nil
	}
	for _, statement := range m.statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return have, fmt.Errorf("%w, in: %s", err, statement)
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES ($1)", m.version); err != nil {
		return have, err
	}
	return have, tx.Commit()
}

// checkServerName compares the configured name with the database's, and writes it to a new one.
func checkServerName(ctx context.Context, db *sql.DB, self id.ServerName) error {
	if self == "" {
		return nil
	}
	var stored string
	const read = "SELECT value FROM meta WHERE name = 'server_name'"
	err := db.QueryRowContext(ctx, read).Scan(&stored)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = db.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('server_name', $1) ON CONFLICT DO NOTHING", string(self))
		if err == nil {
			err = db.QueryRowContext(ctx, read).Scan(&stored)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("store: reading the server name: %w", err)
	case stored != string(self):
		return &ServerNameError{Configured: self, Stored: id.ServerName(stored)}
	}
	return nil
}

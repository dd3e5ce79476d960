package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"hanse/federation/event"
)

// copying is events as rows of a database of their own, to be copied to a socket: the floor for answers that are large.
type copying struct {
	db     *sql.DB
	size   int64 // of all rows
	remove func()
}

// toCopy writes the events to a database.
func (f *floors) toCopy(ctx context.Context, events []*event.Event) (*copying, error) {
	db, remove, err := f.database(ctx)
	if err != nil {
		return nil, err
	}
	c := &copying{db: db, remove: remove}
	for _, e := range events {
		c.size += int64(len(e.JSON()))
	}
	if err := writeGroup(ctx, db, events, 0); err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

// copy reads the rows in one scan and writes them to a TLS connection on loopback, by a server of the bench's, and tells
// how long it took until the other end had all of it, and the CPU time of both ends.
func (c *copying) copy(ctx context.Context, by *server) (took, cpu time.Duration, err error) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", by.config)
	if err != nil {
		return 0, 0, err
	}
	defer listener.Close()
	config := by.world.pool.Clone()
	config.ServerName = hostOf(by)
	written := make(chan error, 1)
	go func() { written <- c.serve(ctx, listener) }()
	to, err := tls.Dial("tcp", listener.Addr().String(), config)
	if err != nil {
		return 0, 0, err
	}
	defer to.Close()
	began, used := time.Now(), ownTime()
	if _, err := to.Write([]byte("?")); err != nil {
		return 0, 0, err
	}
	n, err := io.Copy(io.Discard, to)
	took, cpu = time.Since(began), ownTime()-used
	if err == nil && n != c.size {
		err = fmt.Errorf("%d of %d bytes were copied", n, c.size)
	}
	return took, cpu, errors.Join(err, <-written)
}

// serve answers one byte with all rows.
func (c *copying) serve(ctx context.Context, listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return err
	}
	rows, err := c.db.QueryContext(ctx, "SELECT json FROM event ORDER BY position")
	if err != nil {
		return err
	}
	defer rows.Close()
	to := bufio.NewWriterSize(conn, 64<<10)
	for rows.Next() {
		var raw sql.RawBytes
		if err := rows.Scan(&raw); err != nil {
			return err
		}
		if _, err := to.Write(raw); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return to.Flush()
}

// hostOf is the address in a server's name, which its certificate is for.
func hostOf(s *server) string {
	host, _, _ := net.SplitHostPort(string(s.name)) // it is an address and a port
	return host
}

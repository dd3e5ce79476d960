package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// newDatabase makes an empty database on the server of HANSE_TEST_POSTGRES, and a connection to it.
func newDatabase(ctx context.Context) (*url.URL, *pgx.Conn) {
	GinkgoHelper()
	server := os.Getenv("HANSE_TEST_POSTGRES")
	if server == "" {
		Skip("HANSE_TEST_POSTGRES is not set")
	}
	conn, err := pgx.Connect(ctx, server)
	Expect(err).NotTo(HaveOccurred())
	name := fmt.Sprintf("hostile_%d_%d", os.Getpid(), rand.Uint32())
	_, err = conn.Exec(ctx, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0")
	Expect(err).NotTo(HaveOccurred())
	Expect(conn.Close(ctx)).To(Succeed())
	where, err := url.Parse(server)
	Expect(err).NotTo(HaveOccurred())
	where.Path = "/" + name
	conn, err = pgx.Connect(ctx, where.String())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(conn.Close)
	return where, conn
}

// gate stands between a node and its database server. It is open until it is cut or stalled.
type gate struct {
	target   string
	listener net.Listener

	mu    sync.Mutex
	cut   bool                  // guarded by mu: connections are ended at once
	stall chan struct{}         // guarded by mu: not nil: nothing goes through until it is closed
	conns map[net.Conn]struct{} // guarded by mu
}

// newGate makes one until the test ends; the URL leads through it.
func newGate(to *url.URL) (*gate, *url.URL) {
	GinkgoHelper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // its packets can't be filtered
	listener, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	g := &gate{target: to.Host, listener: listener, conns: map[net.Conn]struct{}{}}
	DeferCleanup(func() {
		g.open()
		listener.Close() //nolint:errcheck // a test
		g.end()
	})
	go g.serve()
	through := *to
	through.Host = listener.Addr().String()
	return g, &through
}

func (g *gate) serve() {
	for {
		near, err := g.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", g.target)
		if err != nil || !g.admit(near, far) {
			near.Close() //nolint:errcheck // a test
			if err == nil {
				far.Close() //nolint:errcheck // a test
			}
			continue
		}
		go g.carry(near, far)
		go g.carry(far, near)
	}
}

func (g *gate) admit(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range conns {
		if !g.cut {
			g.conns[conn] = struct{}{}
		}
	}
	return !g.cut
}

// carry copies one way.
func (g *gate) carry(from, to net.Conn) {
	defer to.Close()   //nolint:errcheck // a test
	defer from.Close() //nolint:errcheck // a test
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		g.mu.Lock()
		stall := g.stall
		g.mu.Unlock()
		if stall != nil {
			<-stall
		}
		if _, e := to.Write(buffer[:n]); e != nil || err != nil {
			return
		}
	}
}

// end ends all connections.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		conn.Close() //nolint:errcheck // a test
	}
	clear(g.conns)
}

func (g *gate) close() {
	g.mu.Lock()
	g.cut = true
	g.mu.Unlock()
	g.end()
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stall = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = false
	if g.stall != nil {
		close(g.stall)
		g.stall = nil
	}
}

// trouble has each transaction of a node fail with an SQLSTATE, at the statement before its COMMIT or, deferred, there; of those
// that are to be retried each third succeeds.
func trouble(ctx context.Context, conn *pgx.Conn, state string, deferred bool) (end func()) {
	GinkgoHelper()
	run := func(statement string) {
		GinkgoHelper()
		_, err := conn.Exec(ctx, statement)
		Expect(err).NotTo(HaveOccurred())
	}
	run("CREATE SEQUENCE tries")
	run(`CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF '` + state + `' NOT LIKE '40%' OR nextval('tries') % 3 <> 0 THEN
			RAISE EXCEPTION 'trouble' USING ERRCODE = '` + state + `';
		END IF;
		RETURN NEW;
	END $$`)
	if deferred {
		run("CREATE CONSTRAINT TRIGGER trouble AFTER UPDATE ON counters DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trouble()")
	} else {
		run("CREATE TRIGGER trouble BEFORE UPDATE ON counters FOR EACH ROW EXECUTE FUNCTION trouble()")
	}
	return func() {
		GinkgoHelper()
		run("DROP TRIGGER trouble ON counters")
	}
}

var _ = Describe("a node on PostgreSQL", Serial, func() {
	for _, state := range []string{"53100", "40001"} { // disk full, serialization failure
		for _, deferred := range []bool{false, true} {
			It(fmt.Sprintf("whose transactions fail with %s (at COMMIT: %t), acknowledges nothing that isn't stored, and goes on by itself", state, deferred),
				func(ctx SpecContext) {
					where, conn := newDatabase(ctx)
					o := outage{begin: func(ctx context.Context, _ *node) func() { return trouble(ctx, conn, state, deferred) }}
					if o.waits = state == "40001"; !o.waits {
						o.refuses, o.says = true, takesNoWrites
					}
					throughOutage(ctx, startNodeOn(where.String()), o)
				})
		}
	}

	It("that becomes read-only acknowledges nothing, and goes on by itself", func(ctx SpecContext) {
		where, conn := newDatabase(ctx)
		set := func(change string) {
			GinkgoHelper()
			_, err := conn.Exec(ctx, "ALTER DATABASE "+where.Path[1:]+" "+change)
			Expect(err).NotTo(HaveOccurred())
			_, err = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
			Expect(err).NotTo(HaveOccurred())
		}
		throughOutage(ctx, startNodeOn(where.String()), outage{refuses: true, says: takesNoWrites, begin: func(context.Context, *node) func() {
			set("SET default_transaction_read_only = on")
			return func() { set("RESET default_transaction_read_only") }
		}})
	})

	It("that can't be reached for a while loses nothing, and goes on by itself", func(ctx SpecContext) {
		where, _ := newDatabase(ctx)
		g, through := newGate(where)
		throughOutage(ctx, startNodeOn(through.String()), outage{says: "the database can't be read", begin: func(context.Context, *node) func() {
			g.close()
			return g.open
		}})
	})

	It("that doesn't answer for a while is waited for", func(ctx SpecContext) {
		where, _ := newDatabase(ctx)
		g, through := newGate(where)
		throughOutage(ctx, startNodeOn(through.String()), outage{waits: true, begin: func(context.Context, *node) func() {
			g.hold()
			return g.open
		}})
	})
})

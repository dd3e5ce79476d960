package testnet

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"hanse/node/admin"
)

// report shows what happens as it happens, as text for people or as JSON lines for programs. Safe for concurrent use.
type report struct {
	mu    sync.Mutex
	out   io.Writer // guarded by mu
	json  bool      // immutable
	began time.Time // immutable
}

// step reports something that was done; node may be empty.
func (r *report) step(node, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed, text := time.Since(r.began), fmt.Sprintf(format, args...)
	if r.json {
		r.line(map[string]any{"elapsed_ms": elapsed.Milliseconds(), "node": node, "step": text})
		return
	}
	fmt.Fprintf(r.out, "%8s  %-7s %s\n", seconds(elapsed), node, text)
}

// text shows something to people alone.
func (r *report) text(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.json {
		fmt.Fprintf(r.out, format, args...)
	}
}

// tell shows what a node has answered: as text for people, or as it came for programs.
func (r *report) tell(node string, answer any, text func(admin.Text)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.json {
		r.line(map[string]any{"elapsed_ms": time.Since(r.began).Milliseconds(), "node": node, "answer": answer})
		return
	}
	var out strings.Builder
	text(admin.Text{Out: &out, Now: time.Now()})
	for line := range strings.Lines(out.String()) {
		fmt.Fprintf(r.out, "%8s  %-7s %s", "", node, line)
	}
}

// line writes one JSON line; the caller holds mu.
func (r *report) line(value any) {
	encoded, err := json.Marshal(value)
	if err == nil {
		_, err = r.out.Write(append(encoded, '\n'))
	}
	_ = err // whoever read the output has gone; the testnet goes on
}

// table shows the nodes and how to use them.
func (r *report) table(plan Plan, roomID, alias string) {
	if r.json {
		r.mu.Lock()
		defer r.mu.Unlock()
		nodes := []map[string]string{}
		for _, node := range plan.Nodes {
			nodes = append(nodes, map[string]string{
				"node": node.Name, "server_name": node.ServerName, "discovery": string(node.Discovery), "client_url": node.ClientURL(),
				"federation": node.Place.Federation(), "user": node.UserID(), "password": node.Password,
			})
		}
		r.line(map[string]any{"nodes": nodes, "room_id": roomID, "room_alias": alias})
		return
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "node\tserver name\tfound by\tclient URL\tuser\tpassword")
	for _, node := range plan.Nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", node.Name, node.ServerName, node.Discovery, node.ClientURL(), node.UserID(), node.Password)
	}
	_ = w.Flush() // to memory
	r.text("\n%s\n", table.String())
}

// seconds is a duration with two decimals.
func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

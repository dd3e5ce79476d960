package testnet

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// console is a testnet that takes commands, and what it has said.
type console struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *lockedBuffer
	read int // of out
}

// does types a command and waits until something new says what it should.
func (c *console) does(line, want string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.says(want)
}

// arrives has something said, again where a loaded machine took longer than the command waits.
func (c *console) arrives(line string) {
	c.t.Helper()
	for range 20 {
		if _, how, _ := strings.Cut(c.does(line, "has it "), "has it "); strings.HasPrefix(how, "(") {
			return
		}
	}
	c.t.Fatalf("%q: it never arrives:\n%s", line, c.out.String())
}

func (c *console) says(want string) string {
	c.t.Helper()
	for until := time.Now().Add(3 * time.Minute); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if said := c.out.String()[c.read:]; strings.Contains(said, want) {
			c.read += strings.Index(said, want) + len(want)
			return said
		}
	}
	c.t.Fatalf("nothing says %q:\n%s", want, c.out.String())
	return ""
}

// TestCommandsBreakAndMendATestnet: what doesn't arrive in a broken net is explained, and arrives once it is mended.
func TestCommandsBreakAndMendATestnet(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, typed := io.Pipe()
	out := &lockedBuffer{}
	ended := make(chan error, 1)
	go func() {
		ended <- Up(ctx, Options{Nodes: 2, Dir: t.TempDir(), Program: hanse(t), Out: out, In: in})
	}()
	c := &console{t: t, in: typed, out: out}
	c.says("Type help")
	c.does("help", "explain EVENT_ID [NODE]")
	c.does("dance", `"dance" is no command`)
	c.does("cut node1", "cut NODE NODE:")
	c.does("cut node1 node9", `there is no node "node9"`)
	c.arrives("say n1 before the storm")
	c.does("cut n1 n2", "cut the link between node1 and node2")
	c.does("say n1 anybody there?", "has it NOT")
	c.says("unknown")                       // on node2
	c.says("waiting  TCP")                  // on node1: why it is there still
	c.says("the testnet has cut this link") // and what is broken
	c.does("status", "node1   runs; cut from node2; can't reach node2.test:8448 (TCP), ")
	c.does("heal", "mended all links")
	c.arrives("say n2 the sun is back")
	c.does("kill n2", "killed")
	c.does("say n1 where are you?", "has it not: it doesn't run")
	c.does("start n2", "ready in")
	c.does("start n2", "runs already")
	c.arrives("say n2 here")
	c.does("rooms n1", "The harbour")
	c.does("peers n1", "node2.test:8448")
	if err := typed.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestNodesThatDisagreeAreAsked: where the scenario fails, the report says what each node knows.
func TestNodesThatDisagreeAreAsked(t *testing.T) {
	var out bytes.Buffer
	s := played(t, &out)
	session := newSession(s.network, s, s.report)
	if err := session.cut(t.Context(), []string{"node1", "node2"}); err != nil {
		t.Fatal(err)
	}
	eventID, err := s.users[0].Say(t.Context(), s.roomID, "into the void")
	if err != nil {
		t.Fatal(err)
	}
	s.patience = 0
	if err := s.converge(t.Context()); err == nil {
		t.Error("they agree over a link that is cut")
	}
	for _, want := range []string{eventID + " on node1.test: accepted", eventID + " on node2.test:8448: unknown", "node2.test:8448  waiting"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, out.String())
		}
	}
}

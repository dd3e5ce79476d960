package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

// A whole encrypted conversation, by matrix-js-sdk: the client library of the most used web clients, which has its own
// encryption (the same Rust code as in the mobile clients, as WebAssembly) and comes from npm with nothing to compile. What
// PyPI has of the kind needs a C library that has been given up.

// encrypting is a client of a device: client/client.mjs as a process.
type encrypting struct {
	user   *user.User
	orders io.WriteCloser

	mu       sync.Mutex
	replies  chan reply
	messages []reply  // guarded by mu
	verified []string // guarded by mu
}

// reply is a line that the client wrote.
type reply struct {
	Done, Failed, Why     string
	Message, Room, Sender string
	Sealed                bool
	Verified              string
	Go                    string // an address for a browser
	User, Token, Device   string
	Key                   string // a recovery key
	Code                  string // in a QR code
}

// newEncrypting starts a client for the user's device; with a password it makes cross-signing keys too.
func newEncrypting(ctx context.Context, u *user.User, password string) *encrypting {
	GinkgoHelper()
	return newClient(ctx, u, password, "")
}

// newClient is newEncrypting for a client that speaks Simplified Sliding Sync in place of /sync, unless sliding is "".
func newClient(ctx context.Context, u *user.User, password, sliding string) *encrypting {
	GinkgoHelper()
	c := launch(u)
	c.begin(ctx, password, sliding)
	return c
}

// begin has the client sync.
func (c *encrypting) begin(ctx context.Context, password, sliding string) {
	GinkgoHelper()
	u := c.user
	orders := map[string]string{"do": "start", "user": u.ID, "token": u.Token, "device": u.DeviceID, "password": password, "sliding": sliding}
	u.Token = c.order(ctx, orders).Token // the library may have refreshed it
}

// launch is a client that does nothing yet, of a user who may not be logged in.
func launch(u *user.User) *encrypting {
	GinkgoHelper()
	folder := os.Getenv("CLIENT_DIR")
	if folder == "" {
		folder = filepath.Join("..", "..", ".build", "client")
	}
	c := &encrypting{user: u, replies: make(chan reply, 100)}
	command := exec.Command("node", "client.mjs")
	command.Dir, command.Stderr = folder, GinkgoWriter
	var err error
	c.orders, err = command.StdinPipe()
	Expect(err).NotTo(HaveOccurred())
	output, err := command.StdoutPipe()
	Expect(err).NotTo(HaveOccurred())
	Expect(command.Start()).To(Succeed())
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(output)
	}()
	DeferCleanup(func() {
		_ = c.orders.Close()
		_ = command.Process.Kill() // it holds nothing that counts
		<-read
		_ = command.Wait()
	})
	return c
}

func (c *encrypting) read(output io.Reader) {
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var r reply
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // a library's chatter
		}
		c.mu.Lock()
		switch {
		case r.Verified != "":
			c.verified = append(c.verified, r.Verified)
		case r.Sender != "":
			c.messages = append(c.messages, r)
		default:
			c.replies <- r
		}
		c.mu.Unlock()
	}
}

// order has the client do something and waits until it is done.
func (c *encrypting) order(ctx context.Context, what map[string]string) reply {
	GinkgoHelper()
	what["url"] = c.user.URL
	line, err := json.Marshal(what)
	Expect(err).NotTo(HaveOccurred())
	_, err = c.orders.Write(append(line, '\n'))
	Expect(err).NotTo(HaveOccurred())
	select {
	case r := <-c.replies:
		Expect(r.Failed).To(BeEmpty(), r.Why)
		Expect(r.Done).To(Equal(what["do"]))
		return r
	case <-ctx.Done():
		Fail(c.user.ID + " did not " + what["do"])
	}
	return reply{}
}

// reads tells what the client could read of encrypted messages in a room, but for its own.
func (c *encrypting) reads(room string) func() []string {
	return func() []string {
		c.mu.Lock()
		defer c.mu.Unlock()
		var texts []string
		for _, m := range c.messages {
			if m.Room == room && m.Sealed && m.Sender != c.user.ID {
				texts = append(texts, m.Message)
			}
		}
		return texts
	}
}

// say says something encrypted that the others must read.
func (c *encrypting) say(ctx context.Context, room, text string, others ...*encrypting) {
	GinkgoHelper()
	c.order(ctx, map[string]string{"do": "send", "room": room, "body": text})
	for _, other := range others {
		Eventually(other.reads(room)).WithTimeout(patience).Should(ContainElement(text), other.user.ID+" "+other.user.DeviceID)
	}
}

// reach says something encrypted again and again until another can read that: until the speaker's server knows of its device (Synapse tells
// of it some time after the events), what is said is not for it.
func (c *encrypting) reach(ctx context.Context, room string, other *encrypting) {
	GinkgoHelper()
	Eventually(func() []string {
		c.order(ctx, map[string]string{"do": "send", "room": room, "body": other.user.ID + ", can you read that?"})
		return other.reads(room)()
	}).WithTimeout(2 * patience).WithPolling(500 * time.Millisecond).ShouldNot(BeEmpty())
}

// compare has two compare emoji, by messages to devices, and sign each other's keys.
func (c *encrypting) compare(ctx context.Context, other *encrypting) {
	GinkgoHelper()
	c.order(ctx, map[string]string{"do": "verify", "user": other.user.ID, "device": other.user.DeviceID})
	for _, pair := range [][2]*encrypting{{c, other}, {other, c}} {
		Eventually(func() []string {
			pair[0].mu.Lock()
			defer pair[0].mu.Unlock()
			return pair[0].verified
		}).WithTimeout(patience).Should(ContainElement(pair[1].user.ID))
	}
}

// sealed are the options of an encrypted room.
func sealed() map[string]any {
	return map[string]any{"initial_state": []any{map[string]any{
		"type": "m.room.encryption", "state_key": "", "content": map[string]any{"algorithm": "m.megolm.v1.aes-sha2"},
	}}}
}

// Who is at Hanse speaks Simplified Sliding Sync, who is at the other server /sync.
var _ = Describe("an encrypted conversation by sliding sync of users of Hanse and "+peerTitle, func() {
	for _, d := range both("in a room on %s") {
		It("is read on both sides: "+d.name, func(ctx SpecContext) {
			c := together(ctx, d.direction, sealed())
			var clients []*encrypting
			for _, u := range []*user.User{c.alice, c.bob} {
				sliding := ""
				if u.URL == hanse.orders.ClientURL() {
					sliding = "yes"
				}
				clients = append(clients, newClient(ctx, u, password, sliding))
			}
			clients[0].reach(ctx, c.room, clients[1])
			for i := range 3 {
				clients[0].say(ctx, c.room, fmt.Sprintf("psst %d", i), clients[1])
				clients[1].say(ctx, c.room, fmt.Sprintf("what %d?", i), clients[0])
			}
			clients[0].compare(ctx, clients[1])
		}, SpecTimeout(3*time.Minute))
	}
})

var _ = Describe("keys of messages that are kept at Hanse", func() {
	It("let a new device read what was said before it was there, and sign itself", func(ctx SpecContext) {
		c := together(ctx, direction{&hanse, &peer}, sealed())
		alice, bob := newEncrypting(ctx, c.alice, password), newEncrypting(ctx, c.bob, password)
		alice.reach(ctx, c.room, bob)
		bob.reach(ctx, c.room, alice)
		bob.say(ctx, c.room, "before", alice)
		key := alice.order(ctx, map[string]string{"do": "keep"}).Key
		alice.order(ctx, map[string]string{"do": "kept"})
		fresh := newEncrypting(ctx, newDevice(ctx, hanse, c.alice), "")
		fresh.order(ctx, map[string]string{"do": "recover", "key": key})
		Eventually(fresh.reads(c.room)).WithTimeout(patience).Should(ContainElement("before"))
	}, SpecTimeout(3*time.Minute))
})

var _ = Describe("an encrypted conversation of users of Hanse and "+peerTitle, func() {
	for _, d := range both("in a room on %s") {
		It("is read on both sides, over restarts and by new devices: "+d.name, func(ctx SpecContext) { conversation(ctx, d.direction) }, SpecTimeout(5*time.Minute))
	}
})

func conversation(ctx context.Context, d direction) {
	c := together(ctx, d, sealed())
	alice, bob := newEncrypting(ctx, c.alice, password), newEncrypting(ctx, c.bob, password)
	alice.reach(ctx, c.room, bob)
	for i := range 3 {
		alice.say(ctx, c.room, fmt.Sprintf("psst %d", i), bob)
		bob.say(ctx, c.room, fmt.Sprintf("what %d?", i), alice)
	}
	alice.compare(ctx, bob)
	// A device that comes while the other server is out is heard of afterwards.
	for _, turn := range []struct {
		out     **server
		at      **server
		speaker *encrypting
		owner   *user.User
	}{
		{d.resident, d.visitor, alice, c.bob}, {d.visitor, d.resident, bob, c.alice},
	} {
		(*turn.out).stop()
		fresh := newDevice(ctx, *turn.at, turn.owner)
		second := newEncrypting(ctx, fresh, "")
		(*turn.out).start()
		_, err := turn.owner.Say(ctx, c.room, "I have another device") // the server hears from us, and so tries again
		Expect(err).NotTo(HaveOccurred())
		Eventually(bodies(ctx, turn.speaker.user, c.room)).WithTimeout(patience).Should(ContainElement("I have another device"))
		turn.speaker.reach(ctx, c.room, second)
		second.say(ctx, c.room, "I can, says "+fresh.DeviceID, turn.speaker)
	}
	alice.say(ctx, c.room, "that was all", bob)
	bob.say(ctx, c.room, "indeed", alice)
}

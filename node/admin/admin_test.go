package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node"
	"hanse/node/admin"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// world is a whole node with one user of its own, and a scripted server that is in a room with it.
type world struct {
	t      *testing.T
	config node.Config
	ask    *admin.Client
	alice  *user.User
	peer   *peer.Peer
	room   *peer.Room
	name   id.ServerName
	stop   func()
	log    bytes.Buffer // read it when the node has stopped
}

func newWorld(t *testing.T) *world {
	t.Helper()
	// The path is longer than a socket's may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca, err := fabric.LoadOrCreateCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	places, err := fabric.Places(1)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := ca.Issue(places[0].IP.String())
	if err != nil {
		t.Fatal(err)
	}
	config := node.Config{ServerName: places[0].Federation(), DataDir: filepath.Join(dir, "data")}
	config.Client.Listen = []string{places[0].Client()}
	config.Federation.Listen = []string{config.ServerName}
	config.Federation.Certificate, config.Federation.Key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	config.Federation.TrustedCAs, config.Federation.AllowAddresses = filepath.Join(dir, "ca.crt"), []string{"127.0.0.0/8"}
	config.Registration.SharedSecret, config.RateLimits.Disabled = "secret", true
	if err := errors.Join(os.WriteFile(config.Federation.Certificate, certificate, 0o600), os.WriteFile(config.Federation.Key, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, config: config, ask: admin.Dial(config.DataDir), alice: user.New("http://" + config.Client.Listen[0]), name: id.ServerName(config.ServerName)}
	w.start()
	t.Cleanup(w.alice.Close)
	if err := w.alice.Register(t.Context(), "alice", "a long password", "secret"); err != nil {
		t.Fatal(err)
	}
	if w.peer, err = peer.Start(peer.Config{Listen: "127.0.0.1:0", CA: ca}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.peer.Close)
	return w
}

// start starts the node; stop stops it.
func (w *world) start() {
	w.t.Helper()
	n, err := node.New(w.t.Context(), w.config, slog.New(slog.NewTextHandler(&w.log, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(running) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	}
}

// meet brings the peer's user bob into a room of alice's.
func (w *world) meet() string {
	w.t.Helper()
	roomID, err := w.alice.CreateRoom(w.t.Context(), map[string]any{"preset": "public_chat", "room_version": "11"})
	if err != nil {
		w.t.Fatal(err)
	}
	joined, err := w.peer.Join(w.t.Context(), w.name, id.RoomID(roomID), w.peer.User("bob"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.room = joined.Room
	return roomID
}

func (w *world) explain(eventID string) admin.Explanation {
	w.t.Helper()
	var x admin.Explanation
	if err := w.ask.Get(w.t.Context(), "/explain", url.Values{"event": {eventID}, "user": {w.alice.ID}}, &x); err != nil {
		w.t.Fatal(err)
	}
	var text bytes.Buffer
	admin.Text{Out: &text, Now: time.Now()}.Explanation(&x)
	w.t.Logf("%s", text.String())
	if !strings.Contains(text.String(), x.Status) || strings.Contains(text.String(), "%!") {
		w.t.Errorf("the text is no answer:\n%s", text.String())
	}
	return x
}

// send has the peer send an event of bob's.
func (w *world) send(e *event.Event) {
	w.t.Helper()
	if _, err := w.peer.Transaction(w.t.Context(), w.name, e.JSON()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) build(d event.Draft) *event.Event {
	w.t.Helper()
	e, err := w.room.Build(d)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func says(t *testing.T, x admin.Explanation, want string) {
	t.Helper()
	encoded, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(encoded), want) {
		t.Errorf("%s is not said of %s", want, x.Event)
	}
}

func check(t *testing.T, x admin.Explanation, number int) admin.Check {
	t.Helper()
	for _, c := range x.Checks {
		if c.Number == number {
			return c
		}
	}
	t.Fatalf("check %d is not told of %s", number, x.Event)
	return admin.Check{}
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("it never came to be: %s", what)
}

func TestWhatBecameOfEvents(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	roomID := w.meet()
	bob := w.peer.User("bob")

	t.Run("one of ours, and where it went", func(t *testing.T) {
		ours, err := w.alice.Say(t.Context(), roomID, "ahoy")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the peer has it", func() bool { return w.room.Has(id.EventID(ours)) })
		x := w.explain(ours)
		if x.Status != "accepted" || x.Came == nil || x.Came.How != "made here" || len(x.Sent) != 1 || x.Sent[0].Server != string(w.peer.Name) {
			t.Errorf("%+v", x)
		}
		eventually(t, "it is noted as taken", func() bool { x := w.explain(ours); return x.Sent[0].State == "taken" && x.Sent[0].At != nil })
	})
	t.Run("one that came, its checks and who sees it", func(t *testing.T) {
		e, err := w.room.Say(t.Context(), bob, "hello")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has come", func() bool { return w.explain(string(e.ID())).Status == "accepted" })
		x := w.explain(string(e.ID()))
		if x.Came == nil || x.Came.How != "transaction" || x.Came.From != string(w.peer.Name) {
			t.Errorf("came %+v", x.Came)
		}
		for number := 1; number <= 6; number++ {
			if c := check(t, x, number); c.Verdict != "passed" || c.Now != "" {
				t.Errorf("%+v", c)
			}
		}
		says(t, x, w.alice.ID+" may see it")
		says(t, x, "m.room.member "+string(bob))
	})
	t.Run("one that the rules reject, with the rule's number and what decided", func(t *testing.T) {
		e := w.build(peer.StateDraft(bob, "m.room.name", "", map[string]any{"name": "mine"}))
		w.send(e)
		x := w.explain(string(e.ID()))
		c := check(t, x, 4)
		if x.Status != "rejected" || c.Verdict != "failed" || c.Rule != "event.level" || c.Spec != "rooms/v11#authorisation-rules 7" {
			t.Errorf("%s: %+v", x.Status, c)
		}
		if check(t, x, 5).Verdict != "not made" {
			t.Error("a later check is told as made")
		}
		says(t, x, "m.room.power_levels")
		says(t, x, w.alice.ID+" does not see it")
	})
	t.Run("one with a bad signature, which is remembered as refused", func(t *testing.T) {
		e := w.build(peer.MessageDraft(bob, "forged"))
		raw, eventID := w.room.Forge(e, func(map[string]any) {}, peer.Forgery{Key: peer.NewKey("ed25519:peer")})
		if _, err := w.peer.Transaction(t.Context(), w.name, raw); err != nil {
			t.Fatal(err)
		}
		x := w.explain(string(eventID))
		if x.Status != "unknown" || len(x.Refused) != 1 || x.Refused[0].What != "signature" || x.Refused[0].Server != string(w.peer.Name) {
			t.Errorf("%+v", x)
		}
		var p admin.Peer
		if err := w.ask.Get(t.Context(), "/peers", url.Values{"name": {string(w.peer.Name)}}, &p); err != nil {
			t.Fatal(err)
		}
		if len(p.WeRefuse) == 0 || p.WeRefuse[0].Event != string(eventID) || len(p.SharedRooms) != 1 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("one that waits, and for what", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		defer w.peer.On("get_missing_events", peer.Hang())()
		e := w.build(peer.MessageDraft(bob, "on what nobody has"))
		raw, eventID := w.room.Forge(e, func(fields map[string]any) {
			fields["prev_events"] = []string{"$missing-missing-missing-missing-missing-mis"}
		}, peer.Forgery{})
		if _, err := w.peer.Transaction(t.Context(), w.name, raw); err != nil {
			t.Fatal(err)
		}
		x := w.explain(string(eventID))
		if x.Status != "waiting" || x.Waits == nil || len(x.Waits.Prev) != 1 || x.Waits.Asking != "get_missing_events" || x.Came == nil || x.Came.How != "transaction" {
			t.Errorf("%+v", x)
		}
		var rooms []admin.Room
		if err := w.ask.Get(t.Context(), "/rooms", nil, &rooms); err != nil || len(rooms) != 1 || rooms[0].Waiting != 1 || rooms[0].Members != 2 {
			t.Errorf("%+v, %v", rooms, err)
		}
	})
	t.Run("one that nobody has heard of", func(t *testing.T) {
		if x := w.explain("$nobody"); x.Status != "unknown" || len(x.Short) == 0 {
			t.Errorf("%+v", x)
		}
	})
}

// TestForks: what came of events that were made without knowing of each other.
func TestForks(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	roomID := w.meet()
	bob := w.peer.User("bob")
	// From here on the peer hears nothing.
	defer w.peer.On("send", peer.Fail(502, "M_UNKNOWN"))()
	topic, err := w.alice.SetState(t.Context(), roomID, "m.room.topic", "", map[string]any{"topic": "alone"})
	if err != nil {
		t.Fatal(err)
	}
	renamed := w.build(peer.StateDraft(bob, "m.room.member", string(bob), map[string]any{"membership": "join", "displayname": "Bob"}))
	old := w.room.State("m.room.member", string(bob))
	w.send(renamed)
	merged, err := w.alice.Say(t.Context(), roomID, "on both")
	if err != nil {
		t.Fatal(err)
	}
	x := w.explain(merged)
	if x.Resolution == nil || x.Resolution.Branches != 2 || len(x.Resolution.Conflicts) != 2 {
		t.Fatalf("%+v", x.Resolution)
	}
	for _, c := range x.Resolution.Conflicts {
		want := map[string]string{"m.room.topic": topic, "m.room.member " + string(bob): string(renamed.ID())}[c.Key]
		if c.Winner != want || len(c.Among) != 2 {
			t.Errorf("%+v, want %s", c, want)
		}
	}
	if y := w.explain(string(old.ID())); y.InForce == nil || y.InForce.ReplacedBy == nil || y.InForce.ReplacedBy.Event != string(renamed.ID()) || y.InForce.Resolved {
		t.Errorf("%+v", y.InForce)
	}
	var room admin.Room
	if err := w.ask.Get(t.Context(), "/rooms", url.Values{"id": {roomID}}, &room); err != nil || room.Merges == 0 || len(room.Forward) != 1 || len(room.Servers) != 2 {
		t.Errorf("%+v, %v", room, err)
	}
	// Alice bans bob, who talks on without knowing.
	if err := w.alice.Call(t.Context(), "POST", "/_matrix/client/v3/rooms/"+url.PathEscape(roomID)+"/ban", nil, map[string]any{"user_id": string(bob)}, nil); err != nil {
		t.Fatal(err)
	}
	talk := w.build(peer.MessageDraft(bob, "still here"))
	w.send(talk)
	x = w.explain(string(talk.ID()))
	if c := check(t, x, 6); x.Status != "soft-failed" || c.Verdict != "failed" || c.Rule != "sender.not_joined" || check(t, x, 5).Verdict != "passed" {
		t.Errorf("%s: %+v", x.Status, c)
	}
	says(t, x, "membership ban")
}

func TestAStateEventThatWasReplaced(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	roomID := w.meet()
	var topics []string
	for _, text := range []string{"first", "second"} {
		topic, err := w.alice.SetState(t.Context(), roomID, "m.room.topic", "", map[string]any{"topic": text})
		if err != nil {
			t.Fatal(err)
		}
		topics = append(topics, topic)
	}
	old, now := w.explain(topics[0]), w.explain(topics[1])
	if old.InForce == nil || old.InForce.Now || old.InForce.Resolved || old.InForce.ReplacedBy == nil || old.InForce.ReplacedBy.Event != topics[1] {
		t.Errorf("%+v", old.InForce)
	}
	if now.InForce == nil || !now.InForce.Now {
		t.Errorf("%+v", now.InForce)
	}
}

func TestWhatIsKnownOfASendingAfterAStart(t *testing.T) {
	w := newWorld(t)
	defer func() { w.stop() }()
	roomID := w.meet()
	said, err := w.alice.Say(t.Context(), roomID, "ahoy")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is taken", func() bool { x := w.explain(said); return len(x.Sent) == 1 && x.Sent[0].State == "taken" })
	w.stop()
	w.start()
	eventually(t, "it answers", func() bool { return w.ask.Get(t.Context(), "/peers", nil, new([]admin.Peer)) == nil })
	x := w.explain(said)
	if len(x.Sent) != 1 || x.Sent[0].State != "taken" || x.Sent[0].At != nil || !strings.Contains(x.Sent[0].Why, "before the start") {
		t.Errorf("%+v", x.Sent)
	}
}

func TestAServerThatCantBeReached(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	roomID := w.meet()
	w.peer.Close()
	said, err := w.alice.Say(t.Context(), roomID, "anybody there?")
	if err != nil {
		t.Fatal(err)
	}
	var peers []admin.Peer
	eventually(t, "the failure is known", func() bool {
		if err := w.ask.Get(t.Context(), "/peers", nil, &peers); err != nil {
			t.Fatal(err)
		}
		return len(peers) == 1 && peers[0].Failures > 0
	})
	p := peers[0]
	if *p.Reachable || p.Kind != "TCP" || p.Since == nil || p.NextTry == nil || p.Events == 0 || !strings.Contains(p.Why, "refused") {
		t.Errorf("%+v", p)
	}
	x := w.explain(said)
	if len(x.Sent) != 1 || x.Sent[0].State != "waiting" || !strings.Contains(x.Sent[0].Why, "TCP") {
		t.Errorf("%+v", x.Sent)
	}
	var text bytes.Buffer
	admin.Text{Out: &text, Colour: true, Now: time.Now()}.Peers(peers)
	if !strings.Contains(text.String(), "TCP") || !strings.Contains(text.String(), "\x1b[31m") {
		t.Errorf("%q", text.String())
	}
}

func TestTraces(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	roomID := w.meet()
	var trace admin.Trace
	if err := w.ask.Post(t.Context(), "/trace", url.Values{"for": {"1m"}}, &trace); err != nil || !trace.On {
		t.Fatalf("%+v, %v", trace, err)
	}
	said, err := w.alice.Say(t.Context(), roomID, "follow me")
	if err != nil {
		t.Fatal(err)
	}
	var stages []string
	eventually(t, "it went all its way", func() bool {
		stages = nil
		for _, mark := range w.explain(said).Way {
			stages = append(stages, string(mark.Stage))
		}
		return len(stages) == 4
	})
	if got := strings.Join(stages, " "); got != "stepped committed queued sent" {
		t.Errorf("%s", got)
	}
	if err := w.ask.Post(t.Context(), "/trace", url.Values{"for": {"a day or two"}}, &trace); err == nil {
		t.Error("a time that is none is taken")
	}
}

func TestNoNode(t *testing.T) {
	var x admin.Explanation
	folder := t.TempDir()
	err := admin.Dial(folder).Get(t.Context(), "/explain", nil, &x)
	if !errors.Is(err, admin.ErrNoNode) || !strings.Contains(err.Error(), folder) {
		t.Errorf("%v", err)
	}
	// One that was killed leaves its socket.
	listener, err := admin.Listen(folder, net.Listen)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(folder, "admin.sock")
	if info, err := os.Stat(left); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	again, err := admin.Listen(folder, net.Listen)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Close(), listener.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestWhatOthersWriteDoesNotReachTheTerminal(t *testing.T) {
	var out bytes.Buffer
	admin.Text{Out: &out, Now: time.Now()}.Explanation(&admin.Explanation{Event: "$e\x1b[2J", Status: "unknown", Short: []string{"a\u202eb\nc"}})
	if strings.ContainsAny(out.String(), "\x1b\u202e") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%q", out.String())
	}
}

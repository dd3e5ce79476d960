package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/testnet/wholestate"
)

// crashFile, if it is set in the environment, makes the test binary the process that is killed: it writes to the
// database in that file and prints what was acknowledged.
const crashFile = "HANSE_STORE_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := writeUntilKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if database := os.Getenv(upgradeDatabase); database != "" {
		if err := upgrade(database); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writeUntilKilled sends messages in several rooms, and account data, and says of each that it is on disk.
func writeUntilKilled(path string) error {
	s, err := store.Open(context.Background(), sqlite.Open(path), store.Options{ServerName: self})
	if err != nil {
		return err
	}
	go s.Run(context.Background()) //nolint:errcheck // it ends by being killed
	const rooms = 4
	var out sync.Mutex // one line at a time
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	failed := make(chan error, rooms+1)
	for range rooms {
		go func() { failed <- talk(s, say) }()
	}
	go func() {
		for i := 0; ; i++ {
			if _, err := s.SetAccountData(context.Background(), alice, "", "n", []byte(strconv.Itoa(i))); err != nil {
				failed <- err
				return
			}
			say("data %d", i)
		}
	}()
	return <-failed
}

// talk makes a room with a member of another server in it, and sends messages.
func talk(s *store.Store, say func(string, ...any)) error {
	a, err := create(s, roomversion.V12)
	if err != nil {
		return err
	}
	e, err := a.draft(member(bob, "join", bob))
	if err != nil {
		return err
	}
	join, err := e.Sign(a.rules, bob.Server(), testKey())
	if err != nil {
		return err
	}
	if _, _, err := a.step(room.Receive{Origin: bob.Server(), Events: []*event.Event{join}}, store.CommitOptions{}); err != nil {
		return err
	}
	for i := 0; ; i++ {
		draft := message(alice, strconv.Itoa(i))
		if i%5 == 0 {
			draft = state("m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, i), alice)
		}
		sent, err := a.propose(store.CommitOptions{}, draft)
		if err != nil {
			return err
		}
		say("event %s %s", a.id(), sent[0].ID())
	}
}

// acknowledged is what a killed process had said.
type acknowledged struct {
	events map[id.RoomID][]id.EventID
	data   int
}

// killOnce starts the process, kills it after a while, and adds what it said.
func killOnce(path string, after time.Duration, ack *acknowledged) {
	GinkgoHelper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	cmd.Stderr = GinkgoWriter
	out := must(cmd.StdoutPipe())
	Expect(cmd.Start()).To(Succeed())
	lines := bufio.NewScanner(out)
	Expect(lines.Scan()).To(BeTrue(), "it says something before it ends")
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	defer timer.Stop()
	for more := true; more; more = lines.Scan() {
		switch words := strings.Fields(lines.Text()); {
		case len(words) == 3 && words[0] == "event":
			ack.events[id.RoomID(words[1])] = append(ack.events[id.RoomID(words[1])], id.EventID(words[2]))
		case len(words) == 2 && words[0] == "data":
			ack.data = must(strconv.Atoi(words[1]))
		}
	}
	Expect(cmd.Wait()).NotTo(Succeed(), "it was killed")
}

var _ = Describe("A process that is killed", func() {
	It("has lost nothing that was acknowledged, and needs no repair", func(ctx SpecContext) {
		path := filepath.Join(GinkgoT().TempDir(), "hanse.db")
		db := &fixture{dialect: sqlite.Open(path)}
		ack := &acknowledged{events: map[id.RoomID][]id.EventID{}}
		seed := uint64(time.Now().UnixNano())
		fmt.Fprintln(GinkgoWriter, "seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for i := 1; i <= 5 || len(ack.events) == 0; i++ { // ever longer: on a busy machine none may come to say anything soon
			killOnce(path, time.Duration(random.IntN(50+50*i))*time.Millisecond, ack)
			db.start()
			checkAcknowledged(ctx, db, ack)
			db.stop()
		}
		Expect(ack.events).NotTo(BeEmpty())
	})
})

func checkAcknowledged(ctx context.Context, db *fixture, ack *acknowledged) {
	GinkgoHelper()
	entry, _, err := db.AccountData(ctx, alice, "", "n")
	Expect(err).NotTo(HaveOccurred())
	if entry.Content != nil {
		Expect(strconv.Atoi(string(entry.Content))).To(BeNumerically(">=", ack.data))
	}
	for r, events := range ack.events {
		rows, more, err := db.Timeline(ctx, r, 0, db.Position(), 1_000_000, false)
		Expect(err).NotTo(HaveOccurred())
		Expect(more).To(BeFalse())
		stored := ids(rows)
		start := len(stored) - 1
		for start >= 0 && stored[start] != events[0] {
			start--
		}
		Expect(start).To(BeNumerically(">=", 0), "the first acknowledged event is there")
		Expect(stored[start:min(start+len(events), len(stored))]).To(Equal(events), "each once, in order")
		a := must(load(db.Store, r))
		Expect(a.machine.Forward()).To(Equal([]id.EventID{stored[len(stored)-1]}))
		Expect(must(db.CurrentState(ctx, r)).Equal(a.machine.Current())).To(BeTrue())
		topic, _ := wholestate.Get(a.machine.Current(), "m.room.topic", "")
		after, _, err := db.StateAfter(ctx, stored[len(stored)-1])
		Expect(err).NotTo(HaveOccurred())
		newest, _ := wholestate.Get(after, "m.room.topic", "")
		Expect(topic).To(Equal(newest))
	}
	if len(ack.events) > 0 { // what was to be sent is still to be sent
		Expect(must(db.Destinations(ctx))).To(Equal([]id.ServerName{there}))
	}
}

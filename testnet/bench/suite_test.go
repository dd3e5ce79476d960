package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/signedjson"
	"hanse/testnet/adapter"
	"hanse/testnet/user"
)

// TestMain is a homeserver that lies where the test that started it says so, and otherwise the tests.
func TestMain(m *testing.M) {
	if lie, ok := os.LookupEnv(fakeLie); ok {
		if err := serveFake(lie); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestBench(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "the bench")
}

// tinyOptions measure nothing well, but everything.
func tinyOptions(scenarios ...string) Options {
	return Options{
		Scenarios: scenarios, Members: 100, Destinations: 3, Clients: 4, Branches: 5, Duration: time.Second, Quick: true, tiny: true,
		JSON: true, Progress: GinkgoWriter,
	}
}

// measured runs the bench and reads its JSON.
func measured(ctx context.Context, options Options) (Result, error) {
	GinkgoHelper()
	var out bytes.Buffer
	options.Out = &out
	err := Run(ctx, options)
	var result Result
	Expect(json.Unmarshal(out.Bytes(), &result)).To(Succeed(), "%v", err)
	return result, err
}

var _ = Describe("this build", Ordered, func() {
	var program string
	BeforeAll(func() {
		var err error
		program, err = adapter.Hanse(GinkgoT().TempDir())
		Expect(err).NotTo(HaveOccurred())
	})
	for _, scenario := range Scenarios() {
		It("is measured in "+scenario.Name, func(ctx SpecContext) {
			options := tinyOptions(scenario.Name)
			options.Program = program
			result, err := measured(ctx, options)
			Expect(err).NotTo(HaveOccurred())
			Expect(result.Servers).To(HaveLen(1))
			Expect(len(result.Servers[0].Figures)).To(BeNumerically(">=", 2))
			for _, f := range result.Servers[0].Figures {
				Expect(f.Void).To(BeEmpty(), f.Name)
				Expect(f.Scenario).To(Equal(scenario.Name))
				Expect(f.Value).To(BeNumerically(">=", 0), f.Name)
				if f.More {
					Expect(f.Value).To(BeNumerically(">", 0), f.Name)
				}
			}
		}, SpecTimeout(5*time.Minute))
	}
})

var _ = Describe("a server that is no good", func() {
	DescribeTable("has void figures", func(ctx SpecContext, lie, reason string) {
		GinkgoT().Setenv(fakeLie, lie)
		folder := GinkgoT().TempDir()
		GinkgoT().Setenv("TMPDIR", folder)
		program, err := os.Executable()
		Expect(err).NotTo(HaveOccurred())
		options := tinyOptions("local")
		options.Adapters = []string{program}
		result, err := measured(ctx, options)
		Expect(result.Servers[0].Figures).NotTo(BeEmpty())
		for _, f := range result.Servers[0].Figures {
			if reason == "" {
				Expect(f.Void).To(BeEmpty())
			} else {
				Expect(f.Void).To(ContainSubstring(reason))
			}
		}
		left, globErr := filepath.Glob(filepath.Join(folder, "hanse-bench-*", "*"))
		Expect(globErr).NotTo(HaveOccurred())
		if reason == "" {
			Expect(err).NotTo(HaveOccurred())
			Expect(left).To(BeEmpty())
		} else {
			Expect(err).To(MatchError(ContainSubstring("figures are void")))
			Expect(left).To(And(Not(BeEmpty()), HaveEach(HaveSuffix(".log"))), "the logs alone are kept")
		}
	},
		Entry("unless it is honest", "", "", SpecTimeout(5*time.Minute)),
		Entry("when it drops an event", "drop", "lacks 1 of", SpecTimeout(5*time.Minute)),
		Entry("when it changes an event", "corrupt", "is not what was sent", SpecTimeout(5*time.Minute)),
		Entry("when it has an event twice", "double", "twice", SpecTimeout(5*time.Minute)),
		Entry("when it forgets over a kill", "forget", "lacks", SpecTimeout(5*time.Minute)),
		Entry("when it refuses", "refuse", "answered 500", SpecTimeout(5*time.Minute)),
		Entry("when it does not keep the order", "reverse", "before", SpecTimeout(5*time.Minute)),
	)

	It("is told from one that is missing", func(ctx SpecContext) {
		options := tinyOptions("local")
		options.Adapters = []string{"/no/such/adapter"}
		options.Out = GinkgoWriter
		Expect(Run(ctx, options)).To(MatchError(ContainSubstring("--adapter")))
	})
})

var _ = DescribeTable("orders that make no sense", func(change func(o *Options), says string) {
	options := Options{Program: "hanse", Out: GinkgoWriter}
	change(&options)
	Expect(Run(context.Background(), options)).To(MatchError(ContainSubstring(says)))
},
	Entry("too many members", func(o *Options) { o.Members = maxMembers + 1 }, "--members"),
	Entry("too few clients", func(o *Options) { o.Clients = -1 }, "--clients"),
	Entry("an hour of overload", func(o *Options) { o.Duration = time.Hour }, "--duration"),
	Entry("an unknown scenario", func(o *Options) { o.Scenarios = []string{"joyn"} }, "--scenario joyn"),
	Entry("nobody to measure", func(o *Options) { o.Program = "" }, "no server to measure"),
)

var _ = It("shows servers side by side, with floors and what is void", func() {
	r := newReport(&bench{began: time.Now()}, []candidate{{name: "hanse"}, {name: "other"}})
	r.add("hanse", []Figure{
		{Scenario: "local", Name: "sends", Value: 3000, Unit: "events/s", More: true, Floor: 6000, FloorOf: "the database"},
		{Scenario: "start", Name: "ready", Value: 0.1, Unit: "s"},
		{Scenario: "inbound", Name: "ten servers", Value: 8000, Unit: "events/s", More: true},
	})
	r.add("other", []Figure{
		{Scenario: "start", Name: "ready", Value: 1, Unit: "s"},
		{Scenario: "local", Name: "sends", Value: 4000, Unit: "events/s", More: true, Void: "an event came twice"},
		{Scenario: "inbound", Name: "ten servers", Value: 400, Unit: "events/s", More: true, Order: "b came before a"},
	})
	var out bytes.Buffer
	Expect(r.write(&out, false)).To(Succeed())
	lines := strings.Split(out.String(), "\n")
	fields := func(line int) []string {
		var found []string
		for field := range strings.SplitSeq(lines[line], "  ") {
			if field = strings.TrimSpace(field); field != "" {
				found = append(found, field)
			}
		}
		return found
	}
	Expect(fields(2)).To(Equal([]string{"scenario", "figure", "hanse", "other", "hanse : other", "floor"}))
	Expect(fields(3)).To(Equal([]string{"start", "ready", "100 ms", "1 s", "10 ×", "–"}))
	Expect(fields(4)).To(Equal([]string{"inbound", "ten servers", "8,000 events/s", "400 events/s, out of order", "20 ×", "–"}))
	Expect(out.String()).To(ContainSubstring("out of order: other, inbound, ten servers: b came before a"))
	Expect(fields(5)).To(Equal([]string{"local", "sends", "3,000 events/s (50 %)", "void", "–", "6,000 events/s: the database"}))
	Expect(out.String()).To(ContainSubstring("void: other, local, sends: an event came twice"))
	Expect(r.voids()).To(Equal(1))
})

var _ = It("tells another order from events that are missing, changed, twice or strange", func() {
	owner := &server{name: "own.test", key: signedjson.Key{ID: "ed25519:own", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}}
	r, err := newRoom(owner, "room")
	Expect(err).NotTo(HaveOccurred())
	chain, err := r.talk(owner, 3, strconv.Itoa)
	Expect(err).NotTo(HaveOccurred())
	shown := func(places ...int) []user.Event {
		history := []user.Event{{ID: "$earlier", Type: "m.room.message"}}
		for _, place := range places {
			e := user.Event{ID: "$strange", Type: "m.room.message"}
			if place < len(chain) {
				Expect(json.Unmarshal(chain[place].JSON(), &e)).To(Succeed())
				e.ID = string(chain[place].ID())
			}
			history = append(history, e)
		}
		return history
	}
	const strange = 3
	Expect(isChain(r.id, shown(0, 1, 2), chain)).To(Succeed())
	order := anotherOrder("")
	Expect(errors.As(isChain(r.id, shown(1, 0, 2), chain), &order)).To(BeTrue())
	Expect(order.Error()).To(ContainSubstring("event 0 of 3"))
	for _, wrong := range [][]int{{0, 1}, {1, 0}, {0, 1, 1, 2}, {0, 1, strange, 2}, {1, 0, 2, strange}} {
		err := isChain(r.id, shown(wrong...), chain)
		Expect(err).To(HaveOccurred())
		Expect(errors.As(err, &order)).To(BeFalse(), "%v", wrong)
	}
	changed := shown(1, 0, 2)
	changed[1].Sender = "@other:own.test"
	Expect(isChain(r.id, changed, chain)).To(MatchError(ContainSubstring("not what was sent")))
})

package store_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// schema16 has the rows of a database as the build before migration 017 left it when it was killed: a line a row.
const schema16 = "testdata/schema16.jsonl"

// stored is a value of such a row: a number, a text, or bytes, which are given as text or in base64.
type stored struct{ value any }

func (v *stored) UnmarshalJSON(b []byte) error {
	var text string
	var number int64
	if json.Unmarshal(b, &text) == nil {
		v.value = text
		return nil
	}
	if json.Unmarshal(b, &number) == nil {
		v.value = number
		return nil
	}
	var bytes struct {
		Text   string
		Base64 []byte
	}
	err := json.Unmarshal(b, &bytes)
	v.value = append([]byte(bytes.Text), bytes.Base64...)
	return err
}

// fillFrom puts the rows of a file into a database in place of what its migrations put there.
func fillFrom(ctx context.Context, db *sql.DB, file string, tables []string) {
	GinkgoHelper()
	tx := must(db.BeginTx(ctx, nil))
	for _, table := range tables {
		_, err := tx.ExecContext(ctx, "DELETE FROM "+table)
		Expect(err).NotTo(HaveOccurred())
	}
	lines := bufio.NewScanner(bytes.NewReader(must(os.ReadFile(file))))
	for lines.Scan() {
		var line struct {
			Table string
			Row   map[string]stored
		}
		Expect(json.Unmarshal(lines.Bytes(), &line)).To(Succeed())
		var columns, places []string
		var values []any
		for column, v := range line.Row {
			columns, values = append(columns, column), append(values, v.value)
			places = append(places, fmt.Sprintf("$%d", len(values)))
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO "+line.Table+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(places, ", ")+")", values...)
		Expect(err).NotTo(HaveOccurred(), lines.Text())
	}
	Expect(lines.Err()).NotTo(HaveOccurred())
	Expect(tx.Commit()).To(Succeed())
}

var _ = Describe("A database of the build before migration 017", func() {
	const (
		carl  id.UserID     = "@carl:there.example"
		third id.ServerName = "third.example"
		alias id.RoomAlias  = "#a:here.example"
	)
	killed := time.UnixMilli(1795862582676) // when the build that wrote it was

	for _, kind := range databases() {
		db := &fixture{}
		var room id.RoomID
		body := func(row store.EventRow) string {
			var content struct{ Body string }
			Expect(json.Unmarshal(row.Event.Content(), &content)).To(Succeed())
			return content.Body
		}
		Context("on "+kind.name, func() {
			BeforeEach(func(ctx SpecContext) {
				db.dialect = must(kind.fresh(ctx, GinkgoT().TempDir()))
				old := writerOf(ctx, db.dialect)
				fillFrom(ctx, old, schema16, ofSchema(ctx, old, db.dialect, 16))
				Expect(old.Close()).To(Succeed())
				db.start()
				DeferCleanup(func() { db.stop() })
				found, _, err := db.Alias(ctx, alias)
				Expect(err).NotTo(HaveOccurred())
				room = found.RoomID
			})

			It("has its rooms and events, also those that weren't in the indexes yet, and goes on", func(ctx SpecContext) {
				for range 2 {
					rows, _, err := db.Timeline(ctx, room, 0, db.Position(), 100, false)
					Expect(err).NotTo(HaveOccurred())
					var said []string
					for _, row := range rows {
						if row.Event.Type() == "m.room.message" {
							said = append(said, body(row))
						}
					}
					Expect(said).To(Equal([]string{"said 0", "said 1", "said 2", "before the last", "the last"}))
					_, used, err := db.ClientTxn(ctx, alice, "PHONE", "send/m.room.message", "t1")
					Expect(err).NotTo(HaveOccurred())
					Expect(used).To(BeTrue())
					db.restart()
				}
				answer, known, err := db.Transaction(ctx, there, "in1")
				Expect(err).NotTo(HaveOccurred())
				Expect(known).To(BeTrue())
				Expect(string(answer)).To(Equal(`{"pdus":{}}`))
				a := must(load(db.Store, room))
				must(a.propose(store.CommitOptions{}, message(alice, "after")))
				Expect(must(db.UserReceipts(ctx, room, alice))).To(HaveLen(1))
			})

			It("has what waits for other servers, and keeps it however old it may be", func(ctx SpecContext) {
				for _, now := range []time.Time{killed, killed.Add(365 * 24 * time.Hour)} {
					Expect(db.Clean(ctx, now)).To(Succeed())
					db.restart()
					Expect(must(db.Destinations(ctx))).To(ConsistOf(there, third))
				}
				Expect(must(db.Backoff(ctx))).To(HaveKeyWithValue(there, HaveField("Failures", 3)))
				texts := func(edus []federation.EDU) (all []string) {
					for _, e := range edus {
						all = append(all, string(e.Content))
					}
					return all
				}
				Expect(texts(must(db.Next(ctx, third, 50, 100)).EDUs)).To(Equal([]string{`"waits"`}))
				var pdus []string
				var edus []string
				for {
					batch := must(db.Next(ctx, there, 50, 100))
					if batch.Empty() {
						break
					}
					for _, pdu := range batch.PDUs {
						pdus = append(pdus, string(pdu))
					}
					edus = append(edus, texts(batch.EDUs)...)
					Expect(db.Done(ctx, there, batch)).To(Succeed())
				}
				Expect(edus).To(ConsistOf(`"keep"`, `"change"`, ContainSubstring(`"PHONE"`)))
				Expect(slices.ContainsFunc(pdus, func(pdu string) bool { return strings.Contains(pdu, "the last") })).To(BeTrue())
				Expect(must(db.Destinations(ctx))).To(ConsistOf(third))
			})

			It("has its users, their devices, and the device lists of others", func(ctx SpecContext) {
				access, known, err := db.Access(ctx, store.HashToken(string(alice)+"PHONE"))
				Expect(err).NotTo(HaveOccurred())
				Expect(known).To(BeTrue())
				Expect(access.Device).To(Equal("PHONE"))
				Expect(must(db.Devices(ctx, alice))).To(HaveLen(2))
				waiting := must(db.ToDevice(ctx, alice, "PHONE", 0, db.Position(), 10))
				Expect(waiting).To(HaveLen(1))
				Expect(string(waiting[0].Message)).To(Equal(`{"type":"m.waits"}`))
				seen := store.ToDeviceRequest{Seen: store.SeenHash(string(there), "1"), Messages: waiting}
				must(db.SaveToDevice(ctx, seen))
				Expect(must(db.ToDevice(ctx, alice, "PHONE", 0, db.Position(), 10))).To(HaveLen(1), "it was taken already")
				claim := store.KeyClaim{User: alice, Device: "PHONE", Algorithm: "signed_curve25519"}
				Expect(must(db.ClaimKeys(ctx, []store.KeyClaim{claim}))).To(HaveKeyWithValue(claim, HaveField("ID", "AAAAAQ")))
				Expect(must(db.DeviceKeys(ctx, []id.UserID{alice}))).To(ContainElement(HaveField("Keys", Not(BeEmpty()))))

				Expect(must(db.RemoteDevices(ctx, []id.UserID{bob}))[bob].Devices).To(HaveKey("B"))
				Expect(must(db.CrossSigningKeys(ctx, []id.UserID{bob}))).To(HaveLen(1))
				Expect(must(db.StaleDevices(ctx, killed, "", 10))).To(ConsistOf(carl), "asked for at once")
				Expect(db.DevicesRefused(ctx, carl, killed)).To(Succeed())
				Expect(must(db.StaleDevices(ctx, killed, "", 10))).To(BeEmpty())
				data, _, err := db.AccountData(ctx, alice, "", "m.direct")
				Expect(err).NotTo(HaveOccurred())
				Expect(string(data.Content)).To(Equal(`{"a":1}`))
				Expect(must(db.Profile(ctx, alice))).To(HaveKey("displayname"))
			})

			It("takes what the migrations bring", func(ctx SpecContext) {
				Expect(must(db.StatusMessages(ctx))).To(BeEmpty())
				Expect(db.SaveStatusMessages(ctx, map[id.UserID]string{alice: "here"})).To(Succeed())
				db.restart()
				Expect(must(db.StatusMessages(ctx))).To(HaveLen(1))
			})
		})
	}
})

package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

var _ = Describe("an answer that is written while it is read", func() {
	rules, _ := roomversion.Lookup("11")
	// member is a membership event with some text in it.
	member := func(user, text string) *event.Event {
		content, _ := json.Marshal(obj{"membership": "join", "displayname": text})
		raw, _ := json.Marshal(obj{
			"type": "m.room.member", "state_key": user, "sender": user, "room_id": "!room:example.org", "content": json.RawMessage(content),
			"depth": 7, "origin_server_ts": 1_700_000_000_000, "prev_events": []any{}, "auth_events": []any{},
			"hashes": obj{"sha256": ""}, "signatures": obj{},
		})
		e, err := event.Parse(rules, raw)
		Expect(err).NotTo(HaveOccurred())
		return e
	}
	var (
		api    *API
		r      *request
		answer *httptest.ResponseRecorder
	)
	BeforeEach(func() {
		api = &API{lanes: newLanes(), log: slog.New(slog.DiscardHandler)}
		r = &request{Request: httptest.NewRequestWithContext(context.Background(), "GET", "/", nil), api: api}
		answer = httptest.NewRecorder()
	})
	// members is a list that so many members are added to, and then an error.
	members := func(count int, failed error) *later {
		return r.later('[', count, func(add addLater) error {
			for i := range count {
				e := member(fmt.Sprintf("@user%d:example.org", i), "name")
				if err := add(func(dst []byte) ([]byte, error) { return appendPlain(dst, e, time.Now()) }); err != nil {
					return err
				}
			}
			return failed
		})
	}
	inTurn := func() *turn {
		own, err := api.lanes.ordinary.take(context.Background(), "@a:b")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(own.leave)
		return own
	}
	// many are more than are written at a time.
	const many = 2 * laterPart / 300

	It("has each event as it is encoded otherwise", func() {
		now := time.Now()
		redaction, err := event.Parse(rules, []byte(`{"type":"m.room.redaction","sender":"@a:b","room_id":"!r:b","content":{"redacts":"$old"},`+
			`"depth":1,"origin_server_ts":1,"prev_events":[],"auth_events":[],"hashes":{"sha256":""},"signatures":{}}`))
		Expect(err).NotTo(HaveOccurred())
		for _, e := range []*event.Event{member("@a:example.org", "plain"), member("@b:example.org", "\"\\\n\u2028<ü>\x01"), redaction} {
			want, err := marshal(plainEvent(e, now))
			Expect(err).NotTo(HaveOccurred())
			got, err := appendPlain([]byte("before"), e, now)
			Expect(err).NotTo(HaveOccurred())
			Expect(got[len("before"):]).To(MatchJSON(want))
		}
	})

	DescribeTable("has all of its parts in their places", func(count int) {
		names := r.later('{', 2, func(add addLater) error {
			for _, member := range []string{`"a":1`, `"b":2`} {
				if err := add(func(dst []byte) ([]byte, error) { return append(dst, member...), nil }); err != nil {
					return err
				}
			}
			return nil
		})
		body := obj{"chunk": members(count, nil), "names": names, "zero": members(0, nil), "text": strings.Repeat("x", laterPart)}
		Expect(api.writeLater(answer, r, body, inTurn())).To(Equal(http.StatusOK))
		var got struct {
			Chunk []struct {
				ID id.EventID `json:"event_id"`
			}
			Names map[string]int
			Zero  []any
			Text  string
		}
		Expect(json.Unmarshal(answer.Body.Bytes(), &got)).To(Succeed())
		Expect(answer.Header().Get("Content-Type")).To(Equal("application/json"))
		Expect(got.Names).To(Equal(map[string]int{"a": 1, "b": 2}))
		Expect(got.Zero).To(And(BeEmpty(), Not(BeNil())))
		Expect(got.Text).To(HaveLen(laterPart))
		Expect(got.Chunk).To(HaveLen(count))
		for i := range got.Chunk {
			Expect(got.Chunk[i].ID).To(Equal(member(fmt.Sprintf("@user%d:example.org", i), "name").ID()))
		}
		Expect(api.lanes.large.slots).To(BeEmpty())
	}, Entry("none", 0), Entry("a few", 3), Entry("more than are written at a time", many), Entry("a large state", largeState+1))

	It("may be one list, and is counted where it is small", func() {
		Expect(api.writeLater(answer, r, members(2, nil), inTurn())).To(Equal(http.StatusOK))
		var got []obj
		Expect(json.Unmarshal(answer.Body.Bytes(), &got)).To(Succeed())
		Expect(got).To(HaveLen(2))
		Expect(answer.Header().Get("Content-Length")).To(Equal(fmt.Sprint(answer.Body.Len())))
	})

	It("is an error if none was written, and is broken off if some were", func() {
		failed := federation.NotFound("nothing is there")
		Expect(api.writeLater(answer, r, obj{"chunk": members(1, failed)}, inTurn())).To(Equal(http.StatusNotFound))
		Expect(answer.Body.String()).To(ContainSubstring("M_NOT_FOUND"))

		var log strings.Builder
		api.log = slog.New(slog.NewTextHandler(&log, nil))
		r.laters = nil
		Expect(func() {
			api.writeLater(httptest.NewRecorder(), r, obj{"chunk": members(many, failed)}, inTurn())
		}).To(PanicWith(http.ErrAbortHandler))
		Expect(log.String()).To(ContainSubstring("nothing is there"), "nobody else says why")
	})

	It("takes a place among the large ones where a large state is told, whatever was asked for", func() {
		for range cap(api.lanes.large.slots) {
			Expect(api.lanes.large.enter(r.Context())).To(Succeed())
		}
		api.lanes.large.most = 0 // nobody may wait
		Expect(api.writeLater(answer, r, obj{"state": members(largeState+1, nil)}, inTurn())).To(Equal(http.StatusTooManyRequests))
		r.laters = nil
		Expect(api.writeLater(httptest.NewRecorder(), r, obj{"state": members(largeState, nil)}, inTurn())).To(Equal(http.StatusOK))
	})
})

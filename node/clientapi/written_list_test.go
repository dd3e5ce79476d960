package clientapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

var _ = Describe("a list of events that is written while they are read", func() {
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
	write := func(list *writtenList, events ...*event.Event) error {
		for _, e := range events {
			if err := list.add(e); err != nil {
				return err
			}
		}
		return nil
	}

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

	DescribeTable("gives all of them in one answer", func(count int) {
		answer := httptest.NewRecorder()
		list := newWrittenList(answer)
		var events []*event.Event
		for i := range count {
			events = append(events, member(fmt.Sprintf("@user%d:example.org", i), "name"))
		}
		body, err := list.end(write(list, events...))
		Expect(err).NotTo(HaveOccurred())
		Expect(body).To(Equal(served{http.StatusOK}))
		var got struct {
			Chunk []struct {
				ID id.EventID `json:"event_id"`
			} `json:"chunk"`
		}
		Expect(json.Unmarshal(answer.Body.Bytes(), &got)).To(Succeed())
		Expect(answer.Header().Get("Content-Type")).To(Equal("application/json"))
		Expect(got.Chunk).To(HaveLen(count))
		Expect(got.Chunk).NotTo(BeNil())
		for i, e := range events {
			Expect(got.Chunk[i].ID).To(Equal(e.ID()))
		}
	}, Entry("none", 0), Entry("a few", 3), Entry("more than are written at a time", 2*listPart/300))

	It("is an error if none was written, and is broken off if some were", func() {
		failed := errors.New("the database is away")
		answer := httptest.NewRecorder()
		list := newWrittenList(answer)
		Expect(write(list, member("@a:example.org", "A"))).To(Succeed())
		_, err := list.end(failed)
		Expect(err).To(MatchError(failed))
		Expect(answer.Body.Len()).To(BeZero())

		var events []*event.Event
		for i := range 2 * listPart / 300 {
			events = append(events, member(fmt.Sprintf("@user%d:example.org", i), "name"))
		}
		Expect(write(list, events...)).To(Succeed())
		Expect(func() { _, _ = list.end(failed) }).To(PanicWith(http.ErrAbortHandler))
	})
})

package clientapi

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("the meeting place for logins by QR code", func() {
	var w *world
	BeforeEach(func() { w = newWorld(withOAuth) })

	type got struct {
		status int
		header http.Header
		text   string
	}
	ask := func(method, address, body string, headers ...string) got {
		GinkgoHelper()
		r, err := http.NewRequest(method, w.server.URL+strings.TrimPrefix(address, oauthBase), strings.NewReader(body))
		Expect(err).NotTo(HaveOccurred())
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		Expect(err).NotTo(HaveOccurred())
		defer response.Body.Close()
		raw, err := io.ReadAll(response.Body)
		Expect(err).NotTo(HaveOccurred())
		return got{response.StatusCode, response.Header, string(raw)}
	}
	const text = "text/plain"

	It("is told of with the OAuth 2.0 API alone", func() {
		features := func() any {
			return fine(w.nobody().get("/_matrix/client/versions")).body["unstable_features"]
		}
		Expect(features()).To(And(HaveKeyWithValue(meetingFeature, true), HaveKeyWithValue(newerMeetingFeature, true)))
		Expect(fine(w.nobody().get(newerMeetingPath)).body).To(HaveKeyWithValue("create_available", true))
		w = newWorld(nil)
		Expect(features()).NotTo(Or(HaveKey(meetingFeature), HaveKey(newerMeetingFeature)))
		refused(w.nobody().get(newerMeetingPath), 404, "M_UNRECOGNIZED")
		Expect(ask("POST", meetingPath, "", "Content-Type", text).status).To(Equal(404))
	})

	Describe("of MSC4108", func() {
		open := func(body string) (address, tag string) {
			GinkgoHelper()
			made := ask("POST", meetingPath, body, "Content-Type", text)
			Expect(made.status).To(Equal(201), made.text)
			Expect(made.text).To(HavePrefix(`{"url":"` + oauthBase + meetingPath + "/"))
			address = strings.TrimSuffix(strings.TrimPrefix(made.text, `{"url":"`), `"}`)
			expires, err := http.ParseTime(made.header.Get("Expires"))
			Expect(err).NotTo(HaveOccurred())
			changed, err := http.ParseTime(made.header.Get("Last-Modified"))
			Expect(err).NotTo(HaveOccurred())
			Expect(expires.Sub(changed)).To(BeNumerically("~", meetingLife, time.Second))
			return address, made.header.Get("ETag")
		}

		It("hands the newest message to who doesn't have it", func() {
			address, empty := open("")
			first := ask("GET", address, "")
			Expect(first.status).To(Equal(200))
			Expect(first.text).To(BeEmpty())
			Expect(first.header["Content-Type"]).To(Equal([]string{text}))
			Expect(first.header.Get("ETag")).To(And(Equal(empty), HavePrefix(`"`)))
			Expect(first.header.Get("Cache-Control")).To(ContainSubstring("no-store"))
			Expect(first.header.Get("Access-Control-Expose-Headers")).To(ContainSubstring("ETag"))

			same := ask("GET", address, "", "If-None-Match", empty)
			Expect(same.status).To(Equal(304))
			for _, name := range []string{"ETag", "Expires", "Last-Modified"} { // matrix-rust-sdk gives up without them
				Expect(same.header.Get(name)).NotTo(BeEmpty(), name)
			}

			written := ask("PUT", address, "hello", "Content-Type", text, "If-Match", empty)
			Expect(written.status).To(Equal(202), written.text)
			tag := written.header.Get("ETag")
			Expect(tag).NotTo(Equal(empty))
			news := ask("GET", address, "", "If-None-Match", empty)
			Expect(news.status).To(Equal(200))
			Expect(news.text).To(Equal("hello"))
			Expect(news.header.Get("ETag")).To(Equal(tag))
			Expect(ask("GET", address, "", "If-None-Match", `"other", W/`+tag).status).To(Equal(304))

			again := ask("PUT", address, "hello", "Content-Type", "text/plain; charset=utf-8", "If-Match", "W/"+tag)
			Expect(again.status).To(Equal(202), again.text)
			Expect(again.header.Get("ETag")).NotTo(Equal(tag), "the same text is another message")
		})

		It("writes over no message that the writer hasn't seen", func() {
			address, empty := open("")
			Expect(ask("PUT", address, "mine", "Content-Type", text, "If-Match", empty).status).To(Equal(202))
			late := ask("PUT", address, "theirs", "Content-Type", text, "If-Match", empty)
			Expect(late.status).To(Equal(412))
			Expect(late.text).To(And(ContainSubstring(`"errcode":"M_UNKNOWN"`), ContainSubstring(`"org.matrix.msc4108.errcode":"M_CONCURRENT_WRITE"`)))
			newest := ask("GET", address, "")
			Expect(newest.text).To(Equal("mine"))
			Expect(late.header.Get("ETag")).To(Equal(newest.header.Get("ETag")))
		})

		It("takes text alone, and so much", func() {
			address, tag := open(strings.Repeat("x", maxMeetingBytes))
			for _, c := range []struct {
				body, kind, tag string
				status          int
				code            string
			}{
				{"x", text, "", 400, "M_MISSING_PARAM"},
				{"x", "text/html", tag, 400, "M_INVALID_PARAM"},
				{"x", "", tag, 400, "M_INVALID_PARAM"},
				{"\xff", text, tag, 400, "M_INVALID_PARAM"},
				{strings.Repeat("x", maxMeetingBytes+1), text, tag, 413, "M_TOO_LARGE"},
			} {
				a := ask("PUT", address, c.body, "Content-Type", c.kind, "If-Match", c.tag)
				Expect(a.status).To(Equal(c.status), a.text)
				Expect(a.text).To(ContainSubstring(c.code))
				if c.tag != "" {
					Expect(ask("POST", meetingPath, c.body, "Content-Type", c.kind).status).To(Equal(c.status))
				}
			}
			Expect(ask("GET", address, "").header.Get("ETag")).To(Equal(tag))
		})

		It("ends when somebody ends it", func() {
			address, tag := open("")
			Expect(ask("DELETE", address, "").status).To(Equal(204))
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				a := ask(method, address, "", "Content-Type", text, "If-Match", tag)
				Expect(a.status).To(Equal(404), method)
				Expect(a.text).To(ContainSubstring("M_NOT_FOUND"))
			}
		})

		It("can be used by browsers", func() {
			address, _ := open("")
			asked := ask("OPTIONS", address, "")
			Expect(asked.status).To(Equal(204))
			Expect(asked.header.Get("Access-Control-Allow-Headers")).To(And(ContainSubstring("If-Match"), ContainSubstring("If-None-Match"), ContainSubstring("Content-Type")))
			Expect(ask("GET", address, "", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "cross-site").status).To(Equal(200))
			for _, shown := range [][]string{{"Sec-Fetch-Dest", "document"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-User", "?1"}, {"Sec-Fetch-Site", "none"}} {
				Expect(ask("GET", address, "", shown...).status).To(Equal(403), shown[0])
			}
		})
	})

	Describe("of MSC4388", func() {
		It("hands on messages in their order", func() {
			nobody := w.nobody()
			made := fine(nobody.post(newerMeetingPath, obj{"data": ""}))
			address, token := newerMeetingPath+"/"+made.text("id"), made.text("sequence_token")
			Expect(made.body["expires_in_ms"]).To(And(BeNumerically(">", 0), BeNumerically("<=", meetingLife.Milliseconds())))
			Expect(fine(nobody.get(address)).body).To(And(HaveKeyWithValue("data", ""), HaveKeyWithValue("sequence_token", token), HaveKey("expires_in_ms")))

			next := fine(nobody.put(address, obj{"data": "hello", "sequence_token": token})).text("sequence_token")
			Expect(next).NotTo(Equal(token))
			Expect(fine(nobody.get(address)).body).To(And(HaveKeyWithValue("data", "hello"), HaveKeyWithValue("sequence_token", next)))
			refused(nobody.put(address, obj{"data": "late", "sequence_token": token}), 409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
			refused(nobody.put(address, obj{"data": "x"}), 400, "M_MISSING_PARAM")
			refused(nobody.put(address, obj{"sequence_token": next}), 400, "M_MISSING_PARAM")
			refused(nobody.put(address, obj{"data": strings.Repeat("x", maxMeetingBytes+1), "sequence_token": next}), 413, "M_TOO_LARGE")
			Expect(fine(nobody.get(address)).body).To(HaveKeyWithValue("data", "hello"))
			Expect(ask("GET", address, "", "Sec-Fetch-Mode", "navigate").status).To(Equal(403))

			first := fine(nobody.put(address+"/t1", obj{"data": "one", "sequence_token": next})).text("sequence_token")
			second := fine(nobody.put(address+"/t2", obj{"data": "two", "sequence_token": first})).text("sequence_token")
			Expect(fine(nobody.put(address+"/t1", obj{"data": "one", "sequence_token": next})).text("sequence_token")).To(Equal(first), "its answer was lost")
			Expect(fine(nobody.get(address)).body).To(And(HaveKeyWithValue("data", "two"), HaveKeyWithValue("sequence_token", second)))
			refused(nobody.put(address+"/t3", obj{"data": "late", "sequence_token": first}), 409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
			for i := range 2 * maxMeetingSent {
				second = fine(nobody.put(fmt.Sprint(address, "/more", i), obj{"data": "", "sequence_token": second})).text("sequence_token")
			}
			refused(nobody.put(address+"/t1", obj{"data": "one", "sequence_token": next}), 409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")

			fine(nobody.del(address, nil))
			refused(nobody.get(address), 404, "M_NOT_FOUND")
			refused(nobody.del(address, nil), 404, "M_NOT_FOUND")
		})
	})

	It("lets one address make so many", func() {
		w = newWorld(func(c *Config) {
			withOAuth(c)
			c.RateLimits = RateLimits{Logins: Limit{PerSecond: 1e-6, Burst: 3}}
		})
		for range 3 {
			fine(w.nobody().post(newerMeetingPath, obj{"data": ""}))
		}
		refused(w.nobody().post(newerMeetingPath, obj{"data": ""}), 429, "M_LIMIT_EXCEEDED")
	})
})

func TestMeetingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meetings
		there := func(id string) bool {
			_, err := m.find(id)
			return err == nil
		}
		first, _ := m.open("a", "")
		time.Sleep(time.Millisecond)
		other, _ := m.open("b", "")
		var ids []string
		for range maxMeetingsEach {
			time.Sleep(time.Millisecond)
			id, _ := m.open("a", "")
			ids = append(ids, id)
		}
		if there(first) || !there(other) || !there(ids[0]) {
			t.Error("one address with too many meetings loses another than its oldest")
		}
		for i := range maxMeetings {
			time.Sleep(time.Microsecond)
			m.open(fmt.Sprint(i), "")
		}
		if len(m.all) != maxMeetings || there(ids[0]) || there(other) {
			t.Errorf("%d meetings, or the oldest is still there", len(m.all))
		}
		time.Sleep(meetingLife + time.Second)
		last, _ := m.open("a", "")
		if len(m.all) != 1 {
			t.Errorf("%d meetings are kept after their end", len(m.all)-1)
		}
		time.Sleep(meetingLife + time.Second)
		if there(last) {
			t.Error("a meeting doesn't end")
		}
	})
}

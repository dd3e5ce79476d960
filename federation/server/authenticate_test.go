package server_test

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
)

var _ = Describe("the X-Matrix check", func() {
	const (
		uri  = "/_matrix/federation/v1/send/1"
		body = `{"origin":"other.example","origin_server_ts":1,"pdus":[{"b":1,"a":"é"}]}`
	)
	var w *world
	BeforeEach(func() {
		w = newWorld()
		w.start()
	})

	It("lets a signed request pass and tells who it was", func() {
		got := w.call("PUT", uri, body)
		Expect(got.status).To(Equal(200))
		Expect(got.body).To(Equal(`{"pdus":{}}`))
		Expect(w.heard).To(Equal([]id.ServerName{other}))
		Expect(w.observed).To(Equal([]string{"PUT /_matrix/federation/v1/send/{txnID}"}))
	})

	DescribeTable("lets forms of deployed servers pass", func(change func(string) string) {
		Expect(w.do("PUT", uri, body, change(w.sign(0, "PUT", uri, body).String())).status).To(Equal(200))
	},
		Entry("no destination", func(h string) string { return strings.Replace(h, `,destination="me.example:8448"`, "", 1) }),
		Entry("nothing quoted", func(h string) string { return strings.ReplaceAll(h, `"`, "") }),
		Entry("another order and case", func(h string) string {
			p := strings.Split(strings.TrimPrefix(h, "X-Matrix "), ",")
			return "x-matrix SIG=" + strings.TrimPrefix(p[3], "sig=") + ", " + p[2] + " ,\t" + strings.Replace(p[0], "origin", "Origin", 1) + ",foo=bar"
		}),
		Entry("the spec's name of the signature", func(h string) string { return strings.Replace(h, ",sig=", ",signature=", 1) }),
	)

	It("looks at all signatures and at none of another scheme", func() {
		good, bad := w.sign(1, "PUT", uri, body), w.sign(0, "PUT", uri, "{}")
		Expect(w.do("PUT", uri, body, "Bearer x", bad.String(), good.String()).status).To(Equal(200))
		Expect(w.do("PUT", uri, body, bad.String()).status).To(Equal(401))
	})

	It("takes the body as it was meant, however it is written", func() {
		a := w.sign(0, "PUT", uri, body).String()
		Expect(w.do("PUT", uri, ` { "pdus" : [ {"a":"\u00e9","b":1} ], "origin_server_ts":1, "origin":"other.example" } `, a).status).To(Equal(200))
	})

	DescribeTable("refuses with 401 M_UNAUTHORIZED", func(headers func() []string) {
		got := w.do("PUT", uri, body, headers()...)
		Expect(got.status).To(Equal(401))
		Expect(got.code()).To(Equal("M_UNAUTHORIZED"))
		Expect(got.body).NotTo(ContainSubstring("secret"))
		Expect(w.heard).To(BeEmpty())
	},
		Entry("no header", func() []string { return nil }),
		Entry("only another scheme", func() []string { return []string{"Bearer x"} }),
		Entry("a header that can't be read", func() []string { return []string{"X-Matrix origin=,"} }),
		Entry("another destination", func() []string {
			return []string{strings.Replace(w.sign(0, "PUT", uri, body).String(), string(self), "me.example", 1)}
		}),
		Entry("another method", func() []string { return []string{w.sign(0, "POST", uri, body).String()} }),
		Entry("another path", func() []string { return []string{w.sign(0, "PUT", uri+"0", body).String()} }),
		Entry("another body", func() []string { return []string{w.sign(0, "PUT", uri, `{}`).String()} }),
		Entry("another key", func() []string {
			a := w.sign(0, "PUT", uri, body)
			a.Key = "ed25519:b"
			return []string{a.String()}
		}),
		Entry("a server whose keys are not known", func() []string {
			a := w.sign(0, "PUT", uri, body)
			a.Origin = "down.example"
			return []string{a.String()}
		}),
		Entry("two origins", func() []string {
			a, b := w.sign(0, "PUT", uri, body), w.sign(0, "PUT", uri, body)
			b.Origin = "down.example"
			return []string{a.String(), b.String()}
		}),
		Entry("too many signatures", func() []string {
			headers := make([]string, 9)
			for i := range headers {
				headers[i] = w.sign(0, "PUT", uri, body).String()
			}
			return headers
		}),
	)

	It("in the name of what is no server are refused as malformed", func() {
		header := strings.Replace(w.sign(0, "PUT", uri, body).String(), string(other), "localhost:http", 1)
		got := w.do("PUT", uri, body, header)
		Expect(got.status).To(Equal(400), got.body)
		Expect(got.code()).To(Equal("M_UNAUTHORIZED"))
	})

	It("covers the query as it was sent", func() {
		for _, query := range []string{"?user_id=%40a%3Ame.example&field=a+b%20c", "?field=&user_id=@a:me.example"} {
			Expect(w.call("GET", "/_matrix/federation/v1/query/profile"+query, "").status).To(Equal(200))
		}
		signed := w.sign(0, "GET", "/_matrix/federation/v1/query/profile?user_id=@a:me.example", "").String()
		Expect(w.do("GET", "/_matrix/federation/v1/query/profile?user_id=@b:me.example", "", signed).status).To(Equal(401))
	})
})

package clientapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/oauth"
)

// Every route gets what no client should send: nothing may panic, fail inside or answer with something else than JSON.
var _ = Describe("every route", func() {
	parameter := regexp.MustCompile(`\{[^}]*\}`)
	values := []string{
		"nonsense", "%00", "%ff", "%2F", "%2e%2e", "!x:hanse.test", "@x:hanse.test", "#x:hanse.test", "$x", "%F0%9F%98%80",
		strings.Repeat("x", 300), "!" + strings.Repeat("x", 252), "m.room.member",
	}
	bodies := []string{
		``, `{}`, `[]`, `null`, `"x"`, `{"a":`, "\xff", strings.Repeat(`{"a":`, 20_000), strings.Repeat("[", 20_000),
		`{"auth":{"type":"m.login.password","session":7}}`, `{"auth":[]}`, `{"auth":null}`,
		`{"user_id":null,"reason":null,"room_id":null,"typing":null,"timeout":null,"presence":null,"visibility":null}`,
		`{"user_id":"","reason":"","room_id":"","name":"","search_term":"","devices":[],"new_password":"","new_version":""}`,
		`{"limit":1e400}`, `{"limit":99999999999999999999}`, `{"membership":"join","membership":"leave"}`, `{"\ud800":1}`,
	}

	It("survives nonsense", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		alice.room(obj{"room_alias_name": "tea"})
		alice.anyForm = true
		for pattern, methods := range table(w.api.routes()) {
			for method := range methods {
				if strings.Contains(pattern, "/logout") {
					continue
				}
				if isPage(pattern) || pattern == oauth.PathStyle { // what they answer is for people
					for _, value := range values {
						status, body, _ := w.visit(method, pattern+"?sid="+value+"&token="+value)
						Expect(status).To(BeNumerically("<", 500), "%s?sid=%s: %s", pattern, value, body)
					}
					continue
				}
				for i, body := range bodies {
					path := parameter.ReplaceAllStringFunc(pattern, func(p string) string {
						switch p {
						case "{$}":
							return ""
						case "{userId}":
							if i%2 == 0 {
								return esc(alice.id)
							}
						}
						return values[i%len(values)]
					})
					if strings.HasSuffix(path, "/events") {
						path += "?timeout=0" // it waits for news where nothing is said
					}
					a := alice.do(method, path, body)
					Expect(a.status).To(Or(BeNumerically("<", 500), Equal(502)), "%s with body %.50q", a.raw, body)
					if a.status >= 400 && a.body["flows"] == nil {
						Expect(a.body).To(HaveKeyWithValue("errcode", MatchRegexp("^M_[A-Z_]+$")), a.raw)
						Expect(a.body).To(HaveKeyWithValue("error", Not(BeEmpty())), a.raw)
					}
				}
			}
		}
		fine(alice.get("/account/whoami"))
	})

	// As reverse proxies do, the client sends all before it looks for the answer.
	DescribeTable("answers who sends a long body that it refuses", func(request string, known bool, status int, code string) {
		const size = 32 << 20 // more than what the sockets hold
		w := newMediaWorld(nil, nil)
		token := "nobody's"
		if known {
			token = w.register("alice").token
		}
		connection, err := net.Dial("tcp", w.server.Listener.Addr().String())
		Expect(err).NotTo(HaveOccurred())
		defer connection.Close()
		Expect(connection.SetDeadline(time.Now().Add(time.Minute))).To(Succeed())
		_, err = fmt.Fprintf(connection, "%s HTTP/1.1\r\nHost: hanse.test\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", request, token, size)
		Expect(err).NotTo(HaveOccurred())
		_, err = connection.Write(make([]byte, size))
		Expect(err).NotTo(HaveOccurred())
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		Expect(err).NotTo(HaveOccurred())
		said, err := io.ReadAll(response.Body)
		Expect(err).NotTo(HaveOccurred())
		Expect(response.StatusCode).To(Equal(status), "%s", said)
		Expect(string(said)).To(ContainSubstring(code))
	},
		Entry("a file, without a token that is known", "POST /_matrix/media/v3/upload", false, 401, "M_UNKNOWN_TOKEN"),
		Entry("JSON, without a token that is known", "PUT /_matrix/client/v3/room_keys/keys?version=1", false, 401, "M_UNKNOWN_TOKEN"),
		Entry("JSON for a path that isn't there", "PUT /_matrix/client/v3/nothing", true, 404, "M_UNRECOGNIZED"),
		Entry("JSON that is too large", "PUT /_matrix/client/v3/room_keys/keys?version=1", true, 413, "M_TOO_LARGE"),
	)

	It("wants to know who asks, but for those that are for everybody", func() {
		w := newWorld(nil)
		for pattern, methods := range table(w.api.routes()) {
			for method, route := range methods {
				if route.auth == withUser {
					refused(w.nobody().do(method, parameter.ReplaceAllString(strings.ReplaceAll(pattern, "{$}", ""), "x"), `{}`), 401, "M_MISSING_TOKEN")
				}
			}
		}
	})
})

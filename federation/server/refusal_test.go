package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
)

// As reverse proxies do, the peer sends all before it looks for the answer.
var _ = DescribeTable("a long body that is refused doesn't take the answer away", func(request string, size int, status int, code string) {
	w := newWorld()
	w.config.Limits.BodyMemory = 1 << 20
	w.start()
	connection, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = connection.Close() }()
	Expect(connection.SetDeadline(time.Now().Add(time.Minute))).To(Succeed())
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	body := bytes.Repeat([]byte("x"), size)
	if strings.HasPrefix(request, "POST") { // of a length that isn't told
		length = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size)
		body = append(body, "\r\n0\r\n\r\n"...)
	}
	authorization := ""
	if code != federation.CodeUnauthorized {
		authorization = `Authorization: X-Matrix origin="other.example",key="ed25519:a",sig="AAAA"` + "\r\n"
	}
	_, err = io.WriteString(connection, request+" HTTP/1.1\r\nHost: me.example\r\n"+authorization+length)
	Expect(err).NotTo(HaveOccurred())
	_, err = connection.Write(body)
	Expect(err).NotTo(HaveOccurred())
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	Expect(err).NotTo(HaveOccurred())
	said, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	Expect(response.StatusCode).To(Equal(status), "%s", said)
	Expect(string(said)).To(ContainSubstring(code))
},
	Entry("unsigned", "PUT /_matrix/federation/v1/send/1", 32<<20, 401, federation.CodeUnauthorized),
	Entry("too large", "PUT /_matrix/federation/v1/send/1", 32<<20, 413, federation.CodeTooLarge),
	Entry("too large, which shows while it comes", "POST /_matrix/key/v2/query", 32<<20, 413, federation.CodeTooLarge),
	Entry("more than there is memory for", "PUT /_matrix/federation/v1/send/1", 12<<20, 429, federation.CodeLimitExceeded),
	Entry("to a path that isn't there", "PUT /_matrix/federation/v1/nothing", 32<<20, 404, federation.CodeUnrecognized),
	Entry("by a method that isn't there", "PUT /_matrix/federation/v1/version", 32<<20, 405, federation.CodeUnrecognized),
)

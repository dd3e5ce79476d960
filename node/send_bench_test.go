package node

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hanse/federation/id"
)

const (
	benchClients = 64
	benchUsers   = 8
)

// BenchmarkSend measures a client's send from its request to its answer, which comes when the event is on disk: 64 clients at once, of
// 8 users in one room, in a whole node, followers of the commits (search, sync) included. The clients are in this process and write
// fixed bytes, so that what is counted is nearly all the server's.
func BenchmarkSend(b *testing.B) {
	config := testConfig(b)
	config.RateLimits.Disabled = true
	n, stop := start(b, config)
	defer func() {
		if err := stop(); err != nil {
			b.Error(err)
		}
	}()
	address := n.address("client.listen")
	base := "http://" + address + "/_matrix/client/v3"
	var room string
	tokens := make([]string, benchUsers)
	for i := range tokens {
		tokens[i] = benchUser(b, base, fmt.Sprintf("user%d", i))
		if i == 0 {
			room, _ = benchCall(b, "POST", base+"/createRoom", tokens[0], `{"preset":"public_chat","room_version":"12"}`)["room_id"].(string)
			if _, err := id.ParseRoomID(room); err != nil {
				b.Fatal(err)
			}
			continue
		}
		benchCall(b, "POST", base+"/join/"+room, tokens[i], "{}")
	}
	var next atomic.Int64
	var clients sync.WaitGroup
	connections := make([]net.Conn, benchClients)
	for i := range connections {
		var err error
		if connections[i], err = net.Dial("tcp", address); err != nil {
			b.Fatal(err)
		}
		defer connections[i].Close()
	}
	text := strings.Repeat("It is a message of the usual length. ", 3)
	b.ReportAllocs()
	b.ResetTimer()
	for i, connection := range connections {
		clients.Go(func() {
			answers := bufio.NewReader(connection)
			var request []byte
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				body := fmt.Sprintf(`{"msgtype":"m.text","body":"%d %s"}`, n, text)
				request = fmt.Appendf(request[:0], "PUT /_matrix/client/v3/rooms/%s/send/m.room.message/m%d HTTP/1.1\r\nHost: example.test\r\n"+
					"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", room, n, tokens[i%benchUsers], len(body), body)
				if _, err := connection.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := benchAnswer(answers); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	b.StopTimer()
}

// benchAnswer reads an answer without keeping anything of it.
func benchAnswer(r *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("the answer to a send: %s", line)
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, digit := range bytes.TrimSpace(value) {
				length = 10*length + int(digit-'0')
			}
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
	}
	_, err := r.Discard(length)
	return err
}

func benchUser(b *testing.B, base, name string) (token string) {
	b.Helper()
	answer := benchCall(b, "POST", base+"/register", "", fmt.Sprintf(`{"username":%q,"password":"a long password","auth":{"type":"m.login.dummy"}}`, name))
	token, _ = answer["access_token"].(string)
	return token
}

func benchCall(b *testing.B, method, url, token, body string) map[string]any {
	b.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		b.Fatalf("%s: %d %v %v", url, response.StatusCode, answer, err)
	}
	return answer
}

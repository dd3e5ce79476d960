package appservice_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node"
	"hanse/node/store/postgres"
	"hanse/testnet/fabric"
)

// nodeEnvironment has the configuration of a node where this program is to be one: tests start themselves, to have something to
// kill.
const nodeEnvironment = "HANSE_TEST_NODE"

func TestMain(m *testing.M) {
	if config := os.Getenv(nodeEnvironment); config != "" {
		os.Exit(beNode(config))
	}
	os.Exit(m.Run())
}

// beNode runs a node until the standard input ends.
func beNode(text string) int {
	var config node.Config
	err := json.Unmarshal([]byte(text), &config)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err == nil {
		var n *node.Node
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		if n, err = node.New(ctx, config, log); err == nil {
			err = n.Run(ctx)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestApplicationServices(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "application services")
}

// onEach puts the specs of body on SQLite and, if HANSE_TEST_POSTGRES names a server where databases may be made, on PostgreSQL.
func onEach(what string, body func(w *world)) bool {
	for _, kind := range []string{"SQLite", "PostgreSQL"} {
		if kind == "PostgreSQL" && os.Getenv("HANSE_TEST_POSTGRES") == "" {
			continue
		}
		Describe(what+" on "+kind, func() {
			w := &world{}
			BeforeEach(func(ctx SpecContext) {
				*w = world{bridge: newBridge()}
				folder := GinkgoT().TempDir()
				w.config = node.Config{ServerName: "hanse.test", DataDir: folder, Presence: "both"}
				w.config.Client.Listen = []string{freeAddress()}
				w.config.Registration.Open = true
				w.config.RateLimits.Disabled = true
				w.config.Passwords = node.PasswordConfig{Argon2Memory: 64, Argon2Time: 1, Argon2Threads: 1}
				if kind == "PostgreSQL" {
					w.config.Database.URL = freshPostgres(ctx)
				}
				w.config.ApplicationServices = []string{w.bridge.registration(folder)}
			})
			body(w)
		})
	}
	return true
}

func freshPostgres(ctx context.Context) string {
	GinkgoHelper()
	server := os.Getenv("HANSE_TEST_POSTGRES")
	write, read, err := postgres.Open(server).Connect(ctx)
	Expect(err).NotTo(HaveOccurred())
	defer write.Close() //nolint:errcheck // a test
	defer read.Close()  //nolint:errcheck // a test
	name := fmt.Sprintf("hanse_services_%d_%d", os.Getpid(), time.Now().UnixNano())
	_, err = write.ExecContext(ctx, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0")
	Expect(err).NotTo(HaveOccurred())
	before, query, _ := strings.Cut(server, "?")
	return before[:strings.LastIndex(before, "/")+1] + name + "?" + query
}

// freeAddress is one that nobody listens on. Nor does a connection get its port while nobody does.
func freeAddress() string {
	GinkgoHelper()
	places, err := fabric.Places(1)
	Expect(err).NotTo(HaveOccurred())
	return places[0].Client()
}

// world is a node, as a process, and a bridge.
type world struct {
	config  node.Config
	bridge  *bridge
	process *exec.Cmd
	log     *bytes.Buffer
}

// start starts the node and waits until it answers.
func (w *world) start() {
	GinkgoHelper()
	config, err := json.Marshal(w.config)
	Expect(err).NotTo(HaveOccurred())
	w.process, w.log = exec.Command(os.Args[0]), &bytes.Buffer{}
	w.process.Env = append(os.Environ(), nodeEnvironment+"="+string(config))
	w.process.Stderr = w.log
	Expect(w.process.Start()).To(Succeed())
	process := w.process
	DeferCleanup(func() {
		_ = process.Process.Kill() // it may have ended
		_ = process.Wait()         // it was killed
	})
	Eventually(func() error {
		response, err := http.Get("http://" + w.config.Client.Listen[0] + "/_matrix/client/versions")
		if err == nil {
			return response.Body.Close()
		}
		return err
	}).WithPolling(20*time.Millisecond).Should(Succeed(), func() string { return "the node did not start" })
}

// kill ends the node without a word.
func (w *world) kill() {
	GinkgoHelper()
	Expect(w.process.Process.Kill()).To(Succeed())
	Expect(w.process.Wait()).NotTo(Succeed())
}

// stop ends the node in good order.
func (w *world) stop() {
	GinkgoHelper()
	Expect(w.process.Process.Signal(os.Interrupt)).To(Succeed())
	Expect(w.process.Wait()).To(Succeed(), w.log.String())
}

type obj = map[string]any

// answered is an answer of the node.
type answered struct {
	status int
	body   obj
	list   []any // of an answer that is a list
	raw    string
}

// who is a client: a user with an access token, or the bridge, as whoever it says.
type who struct {
	w     *world
	id    string
	token string
	as    url.Values // added to each query
}

func (w *world) nobody() *who { return &who{w: w} }

// ofBridge is the bridge, as one of its users; "": as itself.
func (w *world) ofBridge(user string) *who {
	p := &who{w: w, id: "@bridgebot:hanse.test", token: asToken, as: url.Values{}}
	if user != "" {
		p.id = user
		p.as.Set("user_id", user)
	}
	return p
}

// onDevice is the same with a device.
func (p *who) onDevice(device string) *who {
	as := url.Values{"user_id": {p.id}, "device_id": {device}}
	return &who{w: p.w, id: p.id, token: p.token, as: as}
}

// register makes an ordinary account.
func (w *world) register(name string) *who {
	GinkgoHelper()
	done := w.nobody().do("POST", "/register", obj{"username": name, "password": "secret of " + name, "auth": obj{"type": "m.login.dummy"}})
	Expect(done.status).To(Equal(200), done.raw)
	return &who{w: w, id: done.body["user_id"].(string), token: done.body["access_token"].(string)}
}

// ghost registers a user of the bridge.
func (w *world) ghost(name string) *who {
	GinkgoHelper()
	done := w.ofBridge("").do("POST", "/register", obj{"type": "m.login.application_service", "username": name, "inhibit_login": true})
	Expect(done.status).To(Equal(200), done.raw)
	return w.ofBridge(done.body["user_id"].(string))
}

// do asks; a path without /_ is one of v3.
func (p *who) do(method, path string, body any) answered {
	GinkgoHelper()
	if !strings.HasPrefix(path, "/_") {
		path = "/_matrix/client/v3" + path
	}
	if len(p.as) > 0 {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		path += mark + p.as.Encode()
	}
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		Expect(err).NotTo(HaveOccurred())
		reader = bytes.NewReader(raw)
	}
	request, err := http.NewRequest(method, "http://"+p.w.config.Client.Listen[0]+path, reader)
	Expect(err).NotTo(HaveOccurred())
	if p.token != "" {
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := http.DefaultClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close() //nolint:errcheck // it is only read
	raw, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	a := answered{status: response.StatusCode, raw: fmt.Sprintf("%s %s: %d %s", method, path, response.StatusCode, raw)}
	if json.Unmarshal(raw, &a.body) != nil {
		Expect(json.Unmarshal(raw, &a.list)).To(Succeed(), a.raw)
	}
	return a
}

// fine asks and expects success.
func (p *who) fine(method, path string, body any) obj {
	GinkgoHelper()
	a := p.do(method, path, body)
	Expect(a.status).To(Equal(200), a.raw)
	return a.body
}

// refused asks and expects an error.
func (p *who) refused(status int, code, method, path string, body any) obj {
	GinkgoHelper()
	a := p.do(method, path, body)
	Expect(a.status).To(Equal(status), a.raw)
	Expect(a.body).To(HaveKeyWithValue("errcode", code), a.raw)
	return a.body
}

// room makes a room that others are invited to.
func (p *who) room(invited ...*who) string {
	GinkgoHelper()
	ids := []string{}
	for _, other := range invited {
		ids = append(ids, other.id)
	}
	return p.fine("POST", "/createRoom", obj{"preset": "private_chat", "invite": ids})["room_id"].(string)
}

func (p *who) join(room string) {
	GinkgoHelper()
	p.fine("POST", "/rooms/"+url.PathEscape(room)+"/join", obj{})
}

// say sends a message and returns its event ID.
func (p *who) say(room, text string) string {
	GinkgoHelper()
	return p.fine("PUT", "/rooms/"+url.PathEscape(room)+"/send/m.room.message/"+url.PathEscape(text), obj{"msgtype": "m.text", "body": text})["event_id"].(string)
}

// write writes a file and returns its path.
func write(folder, name, text string) string {
	GinkgoHelper()
	path := filepath.Join(folder, name)
	Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
	return path
}

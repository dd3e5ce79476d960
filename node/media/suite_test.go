package media

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/resolver"
	"hanse/testnet/fabric"
)

func TestMedia(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "node/media")
}

const (
	self  id.ServerName = "here.example"
	there id.ServerName = "there.example"
	alice id.UserID     = "@alice:here.example"
	dora  id.UserID     = "@dora:here.example"
)

// world is media over a real database and a real folder, with one other server that answers as a test says.
type world struct {
	*Media
	config Config
	stop   func()

	remote  http.HandlerFunc // how there answers
	asked   atomic.Int64     // requests that there got
	server  *httptest.Server // there
	ca      *fabric.CA
	allowed sync.Map // addresses that may be called

	resolving chan bool // if there: what finding another server waits for
}

// newWorld starts one; change alters its configuration first.
func newWorld(change func(*Config)) *world {
	GinkgoHelper()
	w := &world{remote: http.NotFound}
	var err error
	w.ca, err = fabric.NewCA()
	Expect(err).NotTo(HaveOccurred())
	w.server = w.serve(string(there), func(out http.ResponseWriter, in *http.Request) {
		w.asked.Add(1)
		w.remote(out, in)
	})
	s, err := store.Open(context.Background(), sqlite.OpenUnsynced(filepath.Join(GinkgoT().TempDir(), "hanse.db")), store.Options{ServerName: self})
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	outbound := client.New(client.Config{
		Origin: self, Key: signedjson.Key{ID: "ed25519:1", Private: private}, Resolver: w, Dial: w.dial, TLS: &tls.Config{RootCAs: w.ca.Pool()},
		Timeouts: client.Timeouts{Stall: 5 * time.Second},
	})
	DeferCleanup(func() {
		w.stop()
		outbound.Close()
		cancel()
		Expect(<-ended).To(Succeed())
		Expect(s.Close()).To(Succeed())
	})
	w.config = Config{
		Self: self, Store: s, Folder: filepath.Join(GinkgoT().TempDir(), "media"), Client: outbound, MaxSize: 10 << 20, CacheSize: 100 << 20,
		Trust: &tls.Config{RootCAs: w.ca.Pool()},
	}
	if change != nil {
		change(&w.config)
	}
	w.start()
	return w
}

func (w *world) start() {
	GinkgoHelper()
	var err error
	w.Media, err = New(context.Background(), w.config)
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func(m *Media) { ended <- m.Run(ctx) }(w.Media)
	w.stop = func() {
		GinkgoHelper()
		cancel()
		Expect(<-ended).To(Succeed())
	}
}

// serve starts an HTTPS server for a name, or an address, that may be called.
func (w *world) serve(name string, handler http.HandlerFunc) *httptest.Server {
	GinkgoHelper()
	server := httptest.NewUnstartedServer(handler)
	cert, key, err := w.ca.Issue(name)
	Expect(err).NotTo(HaveOccurred())
	pair, err := tls.X509KeyPair(cert, key)
	Expect(err).NotTo(HaveOccurred())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	DeferCleanup(server.Close)
	w.allowed.Store(server.Listener.Addr().String(), true)
	return server
}

// Resolve implements client.Resolver.
func (w *world) Resolve(_ context.Context, server id.ServerName) ([]resolver.Target, error) {
	if server != there {
		if w.resolving != nil {
			<-w.resolving
		}
		return nil, errors.New("no such server")
	}
	at := netip.MustParseAddrPort(w.server.Listener.Addr().String())
	return []resolver.Target{{Addr: at, Host: string(there), TLSName: string(there)}}, nil
}

// Forget implements client.Resolver.
func (w *world) Forget(id.ServerName) {}

// dial is the node's guard, which refuses loopback addresses, with holes for the servers of the test.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, ok := w.allowed.Load(address); ok {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return resolver.New(resolver.Config{}).DialContext(ctx, network, address)
}

// files lists what is in the folder.
func (w *world) files() []string {
	GinkgoHelper()
	var names []string
	Expect(filepath.WalkDir(w.config.Folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, path)
		}
		return err
	})).To(Succeed())
	return names
}

// upload stores a file of alice's.
func (w *world) upload(ctx context.Context, contentType string, data []byte) Request {
	GinkgoHelper()
	mediaID, err := w.Upload(ctx, Upload{User: alice, ContentType: contentType, Filename: "file", Size: int64(len(data)), Body: bytes.NewReader(data)})
	Expect(err).NotTo(HaveOccurred())
	return Request{Server: self, ID: mediaID}
}

// read reads media whole.
func (w *world) read(ctx context.Context, q Request) (*Content, []byte, error) {
	content, err := w.Open(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	defer content.Body.Close() //nolint:errcheck // a test
	data, err := io.ReadAll(content.Body)
	return content, data, err
}

// refused matches the error of a status and a code.
func refused(status int, code string) OmegaMatcher {
	return WithTransform(func(err error) string {
		var matrix *federation.Error
		if !errors.As(err, &matrix) {
			return fmt.Sprint(err)
		}
		return fmt.Sprint(matrix.Status, " ", matrix.Code)
	}, Equal(fmt.Sprint(status, " ", code)))
}

// random is data that can't be compressed or found elsewhere.
func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data)
	return data
}

// answerMedia answers as a server does that has the media.
func answerMedia(out http.ResponseWriter, part federation.MediaPart, content io.Reader) error {
	out.Header().Set("Content-Type", federation.MediaContentType("the-boundary"))
	return federation.WriteMedia(out, "the-boundary", part, content)
}

// fullDisk is a disk that takes so many bytes and no more.
func fullDisk(f *folder, room int) {
	create := f.create
	f.create = func(path string) (file, error) {
		to, err := create(path)
		return &fullFile{file: to, room: room}, err
	}
}

type fullFile struct {
	file
	room int
}

func (f *fullFile) Write(p []byte) (int, error) {
	if len(p) > f.room {
		n, _ := f.file.Write(p[:f.room])
		f.room = 0
		return n, &os.PathError{Op: "write", Path: "disk", Err: errors.New("no space left on device")}
	}
	f.room -= len(p)
	return f.file.Write(p)
}

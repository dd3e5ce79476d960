package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"image"
	"image/png"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

// guest is a server with a user, in a test of two.
type guest struct {
	*Node
	user *user.User
	url  string // of its clients
}

// two starts two servers that reach each other, with a user on each; change alters their configurations.
func two(t testing.TB, change func(*Config)) [2]guest {
	t.Helper()
	places, err := fabric.Places(2)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	ca, err := fabric.LoadOrCreateCA(folder)
	if err != nil {
		t.Fatal(err)
	}
	var pair [2]guest
	for i, place := range places {
		cert, key, err := ca.Issue(place.IP.String())
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(folder, strconv.Itoa(i))
		config := Config{ServerName: place.Federation(), DataDir: filepath.Join(dir, "data")}
		config.Client.Listen = []string{place.Client()}
		config.Federation.Listen = []string{place.Federation()}
		config.Federation.Certificate, config.Federation.Key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		config.Federation.TrustedCAs = filepath.Join(folder, "ca.crt")
		config.Federation.AllowAddresses = []string{"127.0.0.0/8"}
		config.Registration.Open, config.RateLimits.Disabled = true, true
		config.Passwords.Argon2Memory = 64
		change(&config)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string][]byte{config.Federation.Certificate: cert, config.Federation.Key: key} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n, err := New(t.Context(), config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		pair[i] = guest{Node: n, user: user.New("http://" + place.Client()), url: "http://" + place.Client()}
		if err := pair[i].user.RegisterOpenly(t.Context(), "alice", "a long password"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pair[i].user.Close)
	}
	return pair
}

// ask makes a request with the user's token; the answer's body is the caller's to close.
func (g guest) ask(t testing.TB, method, path string, body io.Reader) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, g.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.user.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// upload stores a file and gives its address without the scheme.
func (g guest) upload(t testing.TB, file io.Reader) string {
	t.Helper()
	response := g.ask(t, "POST", "/_matrix/media/v3/upload?filename=a.png", file)
	defer response.Body.Close()
	var answer struct {
		URI string `json:"content_uri"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != 200 {
		t.Fatalf("the upload: %s, %v", response.Status, err)
	}
	return strings.TrimPrefix(answer.URI, "mxc://")
}

func (g guest) get(t testing.TB, path string) (status int, body []byte) {
	t.Helper()
	response := g.ask(t, "GET", path, nil)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// Pages inside are fetched for a preview where the configuration names their addresses, and for no other setting's sake.
func TestPreviewsOfPagesInside(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<html><head><meta property="og:title" content="The Rock"></head></html>`)
	}))
	defer page.Close()
	pair := two(t, func(c *Config) {
		c.Media.URLPreviews = true
		if strings.HasSuffix(c.DataDir, filepath.Join("1", "data")) {
			c.Media.URLPreviewAddresses = []string{"127.0.0.1"}
		}
	})
	path := "/_matrix/client/v1/media/preview_url?url=" + url.QueryEscape(page.URL)
	if status, body := pair[0].get(t, path); status != http.StatusBadGateway {
		t.Errorf("a page inside: %d %s", status, body)
	}
	status, body := pair[1].get(t, path)
	var preview map[string]any
	if err := json.Unmarshal(body, &preview); err != nil || status != http.StatusOK || preview["og:title"] != "The Rock" {
		t.Errorf("a page inside that is allowed: %d %s", status, body)
	}
}

func TestMediaBetweenServers(t *testing.T) {
	pair := two(t, func(c *Config) { c.Media.UnauthenticatedUntil = "2020-01-01" })
	here, there := pair[0], pair[1]
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 800, 600))); err != nil {
		t.Fatal(err)
	}
	where := here.upload(t, bytes.NewReader(picture.Bytes()))
	for range 2 { // fetched, and cached
		if status, got := there.get(t, "/_matrix/client/v1/media/download/"+where); status != 200 || !bytes.Equal(got, picture.Bytes()) {
			t.Errorf("the picture came as %d bytes, status %d", len(got), status)
		}
	}
	status, small := there.get(t, "/_matrix/client/v1/media/thumbnail/"+where+"?width=96&height=96&method=crop")
	if config, _, err := image.DecodeConfig(bytes.NewReader(small)); status != 200 || err != nil || config.Width != 96 || config.Height != 96 {
		t.Errorf("the thumbnail: status %d, %+v, %v", status, config, err)
	}
	if stats := there.media.Stats(); stats.Fetches != 1 || stats.CacheHits == 0 {
		t.Errorf("%+v", stats)
	}
	if status, body := there.get(t, "/_matrix/media/v3/download/"+where); status != 404 {
		t.Errorf("after the freeze the old way answers %d %s", status, body)
	}
	server, _, _ := strings.Cut(where, "/")
	if status, body := there.get(t, "/_matrix/client/v1/media/download/"+server+"/none"); status != 404 || !strings.Contains(string(body), "M_NOT_FOUND") {
		t.Errorf("what is not there: %d %s", status, body)
	}
	if status, body := there.get(t, "/_matrix/client/v1/media/preview_url?url=http://127.0.0.1/"); status != 404 || !strings.Contains(string(body), "M_UNRECOGNIZED") {
		t.Errorf("a preview where there are none: %d %s", status, body)
	}

	// Created on one server, waited for on the other, uploaded then.
	var created struct {
		URI string `json:"content_uri"`
	}
	if err := here.user.Call(t.Context(), "POST", "/_matrix/media/v1/create", nil, map[string]any{}, &created); err != nil {
		t.Fatal(err)
	}
	late := strings.TrimPrefix(created.URI, "mxc://")
	if status, body := there.get(t, "/_matrix/client/v1/media/download/"+late+"?timeout_ms=10"); status != 504 || !strings.Contains(string(body), "M_NOT_YET_UPLOADED") {
		t.Errorf("before it is uploaded: %d %s", status, body)
	}
}

// TestOldServersGetMediaToo: by the old path on the port of servers, unsigned, if the configuration lets them.
func TestOldServersGetMediaToo(t *testing.T) {
	pair := two(t, func(c *Config) { c.Media.UnauthenticatedUntil = "9999-12-31" })
	where := pair[0].upload(t, strings.NewReader("a file"))
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer stranger.CloseIdleConnections()
	for path, want := range map[string]string{
		"/_matrix/media/v3/download/" + where + "?allow_remote=false": "a file", "/_matrix/media/v3/config": "M_MISSING_TOKEN", "/_matrix/client/versions": "M_UNRECOGNIZED",
	} {
		response, err := stranger.Get("https://" + pair[0].address("federation.listen") + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s answers %s, %v; want %s", path, body, err, want)
		}
	}
}

func TestPreviewsDoNotReachWhatServersMay(t *testing.T) {
	pair := two(t, func(c *Config) { c.Media.URLPreviews = true })
	status, body := pair[0].get(t, "/_matrix/client/v1/media/preview_url?url="+pair[1].url+"/_matrix/client/versions")
	if status != 502 || !strings.Contains(string(body), "could not be fetched") {
		t.Errorf("%d %s", status, body)
	}
}

func TestOpenIDBetweenServers(t *testing.T) {
	pair := two(t, func(*Config) {})
	here, there := pair[0], pair[1]
	var token struct {
		AccessToken string `json:"access_token"`
		Server      string `json:"matrix_server_name"`
	}
	if err := here.user.Call(t.Context(), "POST", "/_matrix/client/v3/user/"+here.user.ID+"/openid/request_token", nil, map[string]any{}, &token); err != nil {
		t.Fatal(err)
	}
	who, err := there.client.OpenIDUser(t.Context(), id.ServerName(token.Server), token.AccessToken)
	if err != nil || string(who) != here.user.ID {
		t.Errorf("the token is %s's, %v; want %s", who, err, here.user.ID)
	}
	if who, err := there.client.OpenIDUser(t.Context(), id.ServerName(token.Server), "nonsense"); err == nil || !strings.Contains(err.Error(), "M_UNKNOWN_TOKEN") {
		t.Errorf("nonsense is %s's, %v", who, err)
	}
}

// long is a file of that size which nobody holds in memory, and its hash once it is read.
type long struct {
	left  int
	block []byte
	hash  hash.Hash
}

func longFile(size int) *long {
	block := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(block) // never fails
	return &long{left: size, block: block, hash: sha256.New()}
}

func (l *long) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.block[:min(len(l.block), l.left)])
	l.left -= n
	l.hash.Write(p[:n])
	return n, nil
}

// TestLargeMediaIsNotHeldInMemory stops in the middle of a download through two servers and looks at the memory of both.
func TestLargeMediaIsNotHeldInMemory(t *testing.T) {
	const size = 48 << 20
	pair := two(t, func(*Config) {})
	file := longFile(size)
	where := pair[0].upload(t, file)
	before := heap()
	response := pair[1].ask(t, "GET", "/_matrix/client/v1/media/download/"+where, nil)
	defer response.Body.Close()
	got := sha256.New()
	if _, err := io.CopyN(got, response.Body, size/2); err != nil {
		t.Fatal(err)
	}
	if grown := int64(heap()) - int64(before); grown > 10<<20 {
		t.Errorf("a download takes %d KiB of memory", grown>>10)
	}
	if _, err := io.Copy(got, response.Body); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Sum(nil), file.hash.Sum(nil)) {
		t.Error("another file came out")
	}
}

// heap is how much memory is in use, without what is only to be collected.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkMediaThroughAnotherServer downloads 100 MB that the user's server must fetch from another: both servers and the
// client are in this process.
func BenchmarkMediaThroughAnotherServer(b *testing.B) {
	const size = 100_000_000
	pair := two(b, func(*Config) {})
	b.SetBytes(size)
	var first, peak float64
	for b.Loop() {
		b.StopTimer()
		where := pair[0].upload(b, longFile(size))
		before := heap()
		b.StartTimer()
		began := time.Now()
		response := pair[1].ask(b, "GET", "/_matrix/client/v1/media/download/"+where, nil)
		chunk := make([]byte, 64<<10)
		for read := 0; ; {
			n, err := response.Body.Read(chunk)
			if read == 0 {
				first = float64(time.Since(began).Microseconds()) / 1000
			}
			if read>>20 != (read+n)>>20 {
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				peak = max(peak, float64(int64(stats.HeapAlloc)-int64(before))/(1<<20))
			}
			if read += n; err == io.EOF && read == size {
				break
			} else if err != nil {
				b.Fatal(fmt.Errorf("after %d bytes: %w", read, err))
			}
		}
		_ = response.Body.Close() // it was read
	}
	b.ReportMetric(first, "ms-to-first-byte")
	b.ReportMetric(peak, "peak-MiB")
}

func TestMediaIsConfigured(t *testing.T) {
	good := "server_name: example.org\nmedia:\n  unauthenticated_until: 2026-07-01\n  max_size: 50\n"
	config, err := ReadConfig("file", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
	if frozen, err := config.mediaFrozen(); err != nil || !frozen.Equal(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %v", frozen, err)
	}
	if c := config.withDefaults(); c.Media.Folder != filepath.Join("data", "media") || c.Media.MaxSize != 50 || c.Media.CacheSize != 10_000 {
		t.Errorf("%+v", c.Media)
	}
	for setting, change := range map[string]func(*MediaConfig){
		"media.unauthenticated_until": func(m *MediaConfig) { m.UnauthenticatedUntil = "tomorrow" },
		"media.cache_size":            func(m *MediaConfig) { m.CacheSize = 49 },
		"media.user_quota":            func(m *MediaConfig) { m.UserQuota = 49 },
	} {
		broken := config
		change(&broken.Media)
		if err := broken.Validate(); err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

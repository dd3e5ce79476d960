package virtual

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"hanse/testnet/fabric"
)

// move gives a server that is stopped another address. The old one swallows what is sent there.
func (s *server) move(name string, to netip.Addr) {
	old := s.host
	s.host = s.world.net.Host(name, to)
	for _, other := range s.world.all {
		s.world.net.Cut(other.host, old)
	}
	s.config.Client.Listen = []string{to.String() + ":8008"}
	s.config.Federation.Listen = []string{to.String() + ":8448"}
	s.start()
}

// certify gives a server another certificate, which it reads while it runs.
func (s *server) certify(ca *fabric.CA, names ...string) {
	s.world.t.Helper()
	certificate, key, err := ca.Issue(names...)
	if err != nil {
		s.world.t.Fatal(err)
	}
	s.world.write(s.name+".key", key)
	s.world.write(s.name+".crt", certificate)
}

// What waits for a server is delivered after it has moved, however long it couldn't be reached.
func TestAServerMovesWhileOthersBackOff(t *testing.T) {
	t.Run("to another address", func(t *testing.T) {
		inTrio(t, func(t *testing.T, x *trio) {
			x.s[2].stop()
			for range 10 {
				x.say(x.alice, x.bob)
				time.Sleep(time.Hour)
			}
			x.s[2].move(x.s[2].name, netip.MustParseAddr("10.0.3.3"))
			x.carol = x.s[2].found(x.carol)
			defer x.carol.Close()
			time.Sleep(3 * time.Hour) // the longest back-off, and as long as the address is remembered
			x.converged(x.alice, x.bob, x.carol)
			if dials := x.net.Dials(x.s[0].host, x.s[2].host); dials == 0 {
				t.Error("the new address was never tried")
			}
		})
	})
	t.Run("to a certificate that is trusted", func(t *testing.T) {
		inTrio(t, func(t *testing.T, x *trio) {
			stranger, err := fabric.NewCA()
			if err != nil {
				t.Fatal(err)
			}
			x.s[2].stop() // no connection stays open, and no session of TLS is resumed
			x.s[2].certify(stranger, x.s[2].name)
			x.s[2].start()
			for range 10 {
				x.say(x.alice, x.bob)
				time.Sleep(time.Hour)
			}
			if len(x.missing(x.carol)) == 0 {
				t.Fatal("carol's server was believed with a certificate of nobody's")
			}
			x.s[2].certify(x.ca, x.s[2].name)
			time.Sleep(4 * time.Hour)
			x.converged(x.alice, x.bob, x.carol)
		})
	})
	t.Run("to where its well-known says", func(t *testing.T) {
		inTrio(t, func(t *testing.T, x *trio) {
			s := x.s[2]
			s.certify(x.ca, s.name, "old.test", "new.test")
			x.net.Host("old.test", netip.MustParseAddr("10.0.0.3"))
			var target atomic.Pointer[string]
			told := "old.test:8448"
			target.Store(&told)
			web, err := x.net.Host("web.test", netip.MustParseAddr("10.0.4.1")).Listen("tcp", "10.0.4.1:443")
			if err != nil {
				t.Fatal(err)
			}
			certificate, key, err := x.ca.Issue(s.name)
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(certificate, key)
			if err != nil {
				t.Fatal(err)
			}
			site := &http.Server{
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ErrorLog: log.New(io.Discard, "", 0),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprintf(w, `{"m.server": %q}`, *target.Load())
				}),
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = site.ServeTLS(web, "", "")
			}()
			defer func() {
				_ = site.Close()
				<-ended
			}()
			x.net.Host(s.name, netip.MustParseAddr("10.0.4.1")) // the name leads to the site from now on
			time.Sleep(50 * time.Hour)                          // nobody remembers that there was none
			x.say(x.alice, x.bob, x.carol)
			time.Sleep(time.Hour)
			x.converged(x.alice, x.bob, x.carol)

			s.stop()
			for range 10 {
				x.say(x.alice, x.bob)
				time.Sleep(time.Hour)
			}
			s.move("new.test", netip.MustParseAddr("10.0.3.3"))
			moved := "new.test:8448"
			target.Store(&moved)
			time.Sleep(50 * time.Hour) // a well-known counts for two days at most
			x.carol = s.found(x.carol)
			defer x.carol.Close()
			x.converged(x.alice, x.bob, x.carol)
		})
	})
}

package suite

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
)

const discoverySection = "server-server-api#resolving-server-names"

// names gives a host name that nobody has had before.
func freshName() string {
	peers++
	return fmt.Sprintf("found%d.test", peers)
}

// listenAt starts a peer under a name at the peers' address, with a port of its own.
func listenAt(name id.ServerName, port uint16, certificate ...string) (p *peer.Peer, at uint16) {
	GinkgoHelper()
	p = startPeer(peer.Config{Name: name, Listen: net.JoinHostPort(places[2].IP.String(), strconv.Itoa(int(port))), CertificateNames: certificate})
	return p, netip.MustParseAddrPort(p.Addr()).Port()
}

// found lets the server under test ask the peer something, and gives the request that came.
func found(ctx context.Context, p *peer.Peer, name id.ServerName) peer.Request {
	GinkgoHelper()
	bob := id.UserID("@bob:" + string(name))
	p.SetProfile(bob, peer.Profile{DisplayName: "Bob"})
	profile, err := profileOf(ctx, bob)
	Expect(err).NotTo(HaveOccurred())
	Expect(profile).To(HaveKeyWithValue("displayname", "Bob"))
	requests := p.Requests("profile")
	Expect(requests).To(HaveLen(1))
	Expect(requests[0].AuthErr).NotTo(HaveOccurred(), "the X-Matrix destination is the server's name, whatever leads there")
	return requests[0]
}

// notFound lets the server under test ask a server that it must not trust or can't find.
func notFound(ctx context.Context, p *peer.Peer, name id.ServerName) {
	GinkgoHelper()
	_, err := profileOf(ctx, id.UserID("@bob:"+string(name)))
	Expect(err).To(HaveOccurred())
	Expect(p.Requests("profile")).To(BeEmpty(), "a request was sent to a server that had not proved its name")
}

var ip = func() string { return places[2].IP.String() }

// delegate serves a well-known file at port 443 of the peers' address.
func delegate(name string, hook peer.Hook) {
	GinkgoHelper()
	if !places[2].WellKnown {
		Skip("port 443 of a loopback address may not be bound here")
	}
	zone.AddAddress(name, places[2].IP)
	DeferCleanup(zone.Remove, name)
	host := startPeer(peer.Config{Name: id.ServerName(name), Listen: net.JoinHostPort(ip(), "443"), CertificateNames: []string{name}})
	host.On("well-known", hook)
}

func wellKnown(server string) peer.Hook {
	return peer.Answer(http.StatusOK, `{"m.server":"`+server+`"}`)
}

var _ = Describe("Discovery", Label("s2s:discovery"), func() {
	It("1. takes an IP address with its port as it is",
		says(discoverySection, "1. If the hostname is an IP literal, then that IP address should be used, together with the given port number"), func(ctx SpecContext) {
			p := startPeer(peer.Config{Listen: net.JoinHostPort(ip(), "0")})
			request := found(ctx, p, p.Name)
			Expect(request.Host).To(Equal(string(p.Name)))
			Expect(request.TLSName).To(BeEmpty(), "SNI is not for IP addresses")
		})

	It("1. takes port 8448 of an IP address without a port",
		says(discoverySection, "1. … or 8448 if no port is given."), func(ctx SpecContext) {
			p, _ := listenAt(id.ServerName(ip()), 8448)
			Expect(found(ctx, p, p.Name).Host).To(Equal(ip()))
		})

	It("1. takes an IPv6 address",
		says(discoverySection, "1. The target server must present a valid certificate for the IP address."), func(ctx SpecContext) {
			listener, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				Skip("this machine has no IPv6 loopback address")
			}
			Expect(listener.Close()).To(Succeed())
			p := startPeer(peer.Config{Listen: listener.Addr().String()})
			Expect(found(ctx, p, p.Name).Host).To(Equal(string(p.Name)))
		})

	It("2. looks up the address of a name with a port", Label(labelNames),
		says(discoverySection, "2. Requests are made to the resolved IP address and given port with a Host header of the original server name (with port)."), func(ctx SpecContext) {
			name := freshName()
			zone.AddAddress(name, places[2].IP)
			zone.AddSRV("_matrix-fed._tcp", name, "nowhere.test", 1, 10, 0) // not for names with a port
			DeferCleanup(zone.Remove, name)
			listener, err := net.Listen("tcp", net.JoinHostPort(ip(), "0"))
			Expect(err).NotTo(HaveOccurred())
			_, port, err := net.SplitHostPort(listener.Addr().String())
			Expect(err).NotTo(HaveOccurred())
			Expect(listener.Close()).To(Succeed())
			p := startPeer(peer.Config{Name: id.ServerName(net.JoinHostPort(name, port)), Listen: net.JoinHostPort(ip(), port)})
			request := found(ctx, p, p.Name)
			Expect(request.Host).To(Equal(string(p.Name)))
			Expect(request.TLSName).To(Equal(name))
		})

	for _, service := range []struct{ step, name string }{{"4.", "_matrix-fed._tcp"}, {"5.", "_matrix._tcp"}} {
		It(service.step+" follows a service record "+service.name, Label(labelNames),
			says(discoverySection, service.step+" Requests are made to the resolved IP address and port, with a Host header of <hostname>. The target server must present a valid certificate for <hostname>."), func(ctx SpecContext) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0)
				zone.AddSRV(service.name, name, "machine."+name, port, 10, 0)
				zone.AddAddress("machine."+name, places[2].IP)
				DeferCleanup(zone.Remove, name)
				request := found(ctx, p, p.Name)
				Expect(request.Host).To(Equal(name))
				Expect(request.TLSName).To(Equal(name))
			})
	}

	It("4. prefers _matrix-fed to the deprecated service record", Label(labelNames),
		says(discoverySection, "5. [Deprecated] If … a _matrix-fed._tcp.<hostname> SRV record was not found, a server is found by resolving an SRV record for _matrix._tcp.<hostname>."), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			old, oldPort := listenAt(id.ServerName(name), 0)
			zone.AddSRV("_matrix-fed._tcp", name, "machine."+name, port, 10, 0)
			zone.AddSRV("_matrix._tcp", name, "machine."+name, oldPort, 1, 0)
			zone.AddAddress("machine."+name, places[2].IP)
			DeferCleanup(zone.Remove, name)
			found(ctx, p, p.Name)
			Expect(old.Requests("")).To(BeEmpty())
		})

	It("4. tries the next service record when the first leads nowhere", Label(labelNames),
		says(discoverySection, "4. … a server is found by resolving an SRV record for _matrix-fed._tcp.<hostname>. "),
		follows(discoverySection, "RFC 2782: a client must attempt to contact the target host with the lowest-numbered priority it can reach"), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			zone.AddSRV("_matrix-fed._tcp", name, "machine."+name, 1, 10, 0)
			zone.AddSRV("_matrix-fed._tcp", name, "machine."+name, port, 20, 0)
			zone.AddAddress("machine."+name, places[2].IP)
			DeferCleanup(zone.Remove, name)
			found(ctx, p, p.Name)
		})

	It("6. takes port 8448 of a name's address otherwise", Label(labelNames),
		says(discoverySection, "6. Requests are made to the resolved IP address using port 8448 and a Host header containing the <hostname>."), func(ctx SpecContext) {
			name := freshName()
			zone.AddAddress(name, places[2].IP)
			DeferCleanup(zone.Remove, name)
			p, _ := listenAt(id.ServerName(name), 8448)
			request := found(ctx, p, p.Name)
			Expect(request.Host).To(Equal(name))
			Expect(request.TLSName).To(Equal(name))
		})

	It("sends nothing to a server whose certificate is for another name", Label(labelNames),
		says("server-server-api#response-authentication", "A homeserver should not send a request until it has authenticated the connected server to avoid leaking messages to eavesdroppers."), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0, "machine."+name)
			zone.AddSRV("_matrix-fed._tcp", name, "machine."+name, port, 10, 0)
			zone.AddAddress("machine."+name, places[2].IP)
			DeferCleanup(zone.Remove, name)
			notFound(ctx, p, p.Name)
		})

	It("sends nothing to an IP address whose certificate is for another",
		says(discoverySection, "1. The target server must present a valid certificate for the IP address."), func(ctx SpecContext) {
			p := startPeer(peer.Config{Listen: net.JoinHostPort(ip(), "0"), CertificateNames: []string{"127.0.0.1", "somebody.test"}})
			notFound(ctx, p, p.Name)
		})

	It("sends nothing to a server whose certificate is by an authority that it does not know",
		says("server-server-api#tls", "The destination server must provide a TLS certificate signed by a known Certificate Authority."), func(ctx SpecContext) {
			other, err := fabric.NewCA()
			Expect(err).NotTo(HaveOccurred())
			p := startPeer(peer.Config{Listen: net.JoinHostPort(ip(), "0"), CA: other})
			notFound(ctx, p, p.Name)
		})

	It("answers with an error for a server that does not exist",
		says(discoverySection, "6. If … no SRV records were found, an IP address is resolved using CNAME, AAAA and A records."), func(ctx SpecContext) {
			_, err := profileOf(ctx, "@bob:does-not-exist.test")
			Expect(status(err)).To(BeNumerically(">=", 400), "%s", errorText(err))
		})

	Describe("by well-known", Serial, Label(labelNames), func() {
		It("3.1 takes an IP address",
			says(discoverySection, "3.1 If <delegated_hostname> is an IP literal, then that IP address should be used together with the <delegated_port> … Requests must be made with a Host header containing the IP address, including the port if one was provided."), func(ctx SpecContext) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0, ip())
				target := net.JoinHostPort(ip(), strconv.Itoa(int(port)))
				delegate(name, wellKnown(target))
				Expect(found(ctx, p, p.Name).Host).To(Equal(target))
			})

		It("3.2 looks up the address of a name with a port",
			says(discoverySection, "3.2 Requests must be made with a Host header of <delegated_hostname>:<delegated_port>. The target server must present a valid certificate for <delegated_hostname>."), func(ctx SpecContext) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0, "machine."+name)
				zone.AddAddress("machine."+name, places[2].IP)
				target := fmt.Sprintf("machine.%s:%d", name, port)
				delegate(name, wellKnown(target))
				request := found(ctx, p, p.Name)
				Expect(request.Host).To(Equal(target))
				Expect(request.TLSName).To(Equal("machine." + name))
			})

		It("3.3 follows a service record of the delegated name",
			says(discoverySection, "3.3 an SRV record is looked up for _matrix-fed._tcp.<delegated_hostname> … with a Host header containing the <delegated_hostname>. The target server must present a valid certificate for <delegated_hostname>."), func(ctx SpecContext) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0, "service."+name)
				zone.AddSRV("_matrix-fed._tcp", "service."+name, "machine."+name, port, 10, 0)
				zone.AddAddress("machine."+name, places[2].IP)
				delegate(name, wellKnown("service."+name))
				request := found(ctx, p, p.Name)
				Expect(request.Host).To(Equal("service." + name))
				Expect(request.TLSName).To(Equal("service." + name))
			})

		It("3.5 takes port 8448 of the delegated name otherwise",
			says(discoverySection, "3.5 Requests are then made to the resolved IP address and a port of 8448, using a Host header of <delegated_hostname>."), func(ctx SpecContext) {
				name := freshName()
				p, _ := listenAt(id.ServerName(name), 8448, "machine."+name)
				zone.AddAddress("machine."+name, places[2].IP)
				delegate(name, wellKnown("machine."+name))
				Expect(found(ctx, p, p.Name).Host).To(Equal("machine." + name))
			})

		It("3. follows redirects",
			says(discoverySection, "3. 30x redirects should be followed, however redirection loops should be avoided."), func(ctx SpecContext) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0, "machine."+name)
				zone.AddAddress("machine."+name, places[2].IP)
				delegate(name, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if strings.Contains(r.URL.RawQuery, "again") {
						wellKnown(fmt.Sprintf("machine.%s:%d", name, port))(w, r, next)
						return
					}
					http.Redirect(w, r, "/.well-known/matrix/server?again", http.StatusFound)
				})
				found(ctx, p, p.Name)
			})

		DescribeTable("3. goes on with service records where the answer is not valid",
			says(discoverySection, "3. If the response is invalid (bad JSON, missing properties, non-200 response, etc), skip to step 4."), func(ctx SpecContext, hook peer.Hook) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0)
				zone.AddSRV("_matrix-fed._tcp", name, "machine."+name, port, 10, 0)
				zone.AddAddress("machine."+name, places[2].IP)
				delegate(name, hook)
				Expect(found(ctx, p, p.Name).Host).To(Equal(name))
			},
			Entry("bad JSON", peer.Answer(http.StatusOK, `{"m.server":`)),
			Entry("no m.server", peer.Answer(http.StatusOK, `{}`)),
			Entry("m.server is no name", peer.Answer(http.StatusOK, `{"m.server":"a b:c"}`)),
			Entry("m.server is no text", peer.Answer(http.StatusOK, `{"m.server":1}`)),
			Entry("404", peer.Answer(http.StatusNotFound, `{"m.server":"nowhere.test:1"}`)),
			Entry("a redirection loop", peer.Hook(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				http.Redirect(w, r, "/.well-known/matrix/server", http.StatusFound)
			})),
			Entry("without end", peer.Answer(http.StatusOK, `{"a":"`+strings.Repeat("x", 1<<20)+`"}`)),
		)

		It("3. keeps the answer",
			says(discoverySection, "3. Responses (successful or otherwise) to the /.well-known endpoint should be cached by the requesting server."), func(ctx SpecContext) {
				name := freshName()
				p, port := listenAt(id.ServerName(name), 0, "machine."+name)
				zone.AddAddress("machine."+name, places[2].IP)
				asked := 0
				delegate(name, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					asked++
					wellKnown(fmt.Sprintf("machine.%s:%d", name, port))(w, r, next)
				})
				found(ctx, p, p.Name)
				_, err := profileOf(ctx, id.UserID("@nobody:"+name))
				Expect(status(err)).To(Equal(http.StatusNotFound))
				Expect(p.Requests("profile")).To(HaveLen(2))
				Expect(asked).To(Equal(1))
			})
	})
})

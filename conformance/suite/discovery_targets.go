package suite

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
)

// machine gives a name an address of the peers, and takes both away at the end of the test.
func machine(name string) string {
	GinkgoHelper()
	zone.AddAddress("machine."+name, places[2].IP)
	DeferCleanup(zone.Remove, name)
	DeferCleanup(zone.Remove, "machine."+name)
	return "machine." + name
}

// deadPort is a port of the peers' address at which nobody listens.
func deadPort() uint16 {
	GinkgoHelper()
	address := netip.MustParseAddrPort(freshAddress())
	return address.Port()
}

var _ = Describe("Discovery: many targets", Label("s2s:discovery"), Label(labelNames), func() {
	const records = "4. … a server is found by resolving an SRV record for _matrix-fed._tcp.<hostname>. This may result in a hostname (to be resolved using AAAA or A records) and port."

	It("4. takes the service record of the lowest priority", says(discoverySection, records), func(ctx SpecContext) {
		name := freshName()
		p, port := listenAt(id.ServerName(name), 0)
		other, otherPort := listenAt(id.ServerName(name), 0)
		target := machine(name)
		zone.AddSRV("_matrix-fed._tcp", name, target, otherPort, 20, 100)
		zone.AddSRV("_matrix-fed._tcp", name, target, port, 10, 1)
		found(ctx, p, p.Name)
		Expect(other.Requests("")).To(BeEmpty())
	})

	It("4. tries all the records of a priority before the next", says(discoverySection, records),
		follows(discoverySection, "RFC 2782: the targets of a priority are tried in an order by weight, until one answers"), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			last, lastPort := listenAt(id.ServerName(name), 0)
			target := machine(name)
			for range 3 {
				zone.AddSRV("_matrix-fed._tcp", name, target, deadPort(), 10, 50)
			}
			zone.AddSRV("_matrix-fed._tcp", name, target, port, 10, 0)
			zone.AddSRV("_matrix-fed._tcp", name, target, lastPort, 20, 0)
			found(ctx, p, p.Name)
			Expect(last.Requests("")).To(BeEmpty())
		})

	It("4. tries the next record when the first target has no address", says(discoverySection, records),
		follows(discoverySection, "RFC 2782: a target that can't be reached is passed over"), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			zone.AddSRV("_matrix-fed._tcp", name, "no-such-machine."+name, port, 10, 0)
			zone.AddSRV("_matrix-fed._tcp", name, machine(name), port, 20, 0)
			found(ctx, p, p.Name)
		})

	It("6. tries another address of a name when the first is dead",
		says(discoverySection, "6. If … no SRV records were found, an IP address is resolved using CNAME, AAAA and A records."), func(ctx SpecContext) {
			name := freshName()
			zone.AddAddress(name, places[1].IP) // nobody is there
			zone.AddAddress(name, places[2].IP)
			DeferCleanup(zone.Remove, name)
			p, _ := listenAt(id.ServerName(name), 8448)
			found(ctx, p, p.Name)
		})

	It("2. finds a name by its AAAA record",
		says(discoverySection, "2. … resolve the hostname to an IP address using CNAME, AAAA or A records."), func(ctx SpecContext) {
			listener, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				Skip("this machine has no IPv6 loopback address")
			}
			address := netip.MustParseAddrPort(listener.Addr().String())
			Expect(listener.Close()).To(Succeed())
			name := freshName()
			zone.AddAddress(name, address.Addr())
			DeferCleanup(zone.Remove, name)
			p := startPeer(peer.Config{Name: id.ServerName(net.JoinHostPort(name, strconv.Itoa(int(address.Port())))), Listen: address.String()})
			Expect(found(ctx, p, p.Name).TLSName).To(Equal(name))
		})

	It("2. sends nothing where the certificate is for the machine, not for the name",
		says(discoverySection, "2. The target server must present a valid certificate for the hostname."), func(ctx SpecContext) {
			name := freshName()
			zone.AddAddress(name, places[2].IP)
			DeferCleanup(zone.Remove, name)
			address := freshAddress()
			_, port, err := net.SplitHostPort(address)
			Expect(err).NotTo(HaveOccurred())
			p := startPeer(peer.Config{Name: id.ServerName(net.JoinHostPort(name, port)), Listen: address, CertificateNames: []string{"machine." + name, ip()}})
			notFound(ctx, p, p.Name)
		})

	It("the server itself is found by its service record, and its certificate is for its name",
		says(discoverySection, "4. The target server must present a valid certificate for <hostname>."), func(ctx SpecContext) {
			answer, err := newPeer().Client.Version(ctx, home)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Server.Name).NotTo(BeEmpty())
		})
})

var _ = Describe("Discovery: well-known, further", Label("s2s:discovery"), Label(labelNames), Serial, func() {
	It("3.3 prefers the service record of the delegated name to port 8448",
		says(discoverySection, "3.3 If <delegated_hostname> is not an IP literal and no <delegated_port> is present, an SRV record is looked up for _matrix-fed._tcp.<delegated_hostname>."), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0, "service."+name)
			zone.AddSRV("_matrix-fed._tcp", "service."+name, machine(name), port, 10, 0)
			zone.AddAddress("service."+name, places[2].IP)
			DeferCleanup(zone.Remove, "service."+name)
			delegate(name, wellKnown("service."+name))
			found(ctx, p, p.Name)
		})

	It("3.4 follows a deprecated service record of the delegated name",
		says(discoverySection, "3.4 [Deprecated] If … a _matrix-fed._tcp.<delegated_hostname> SRV record was not found, an SRV record is looked up for _matrix._tcp.<delegated_hostname>."), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0, "service."+name)
			zone.AddSRV("_matrix._tcp", "service."+name, machine(name), port, 10, 0)
			DeferCleanup(zone.Remove, "service."+name)
			delegate(name, wellKnown("service."+name))
			request := found(ctx, p, p.Name)
			Expect(request.Host).To(Equal("service." + name))
			Expect(request.TLSName).To(Equal("service." + name))
		})

	It("3. is preferred to a service record of the name",
		says(discoverySection, "3. If the hostname is not an IP literal, a regular HTTPS request is made to https://<hostname>/.well-known/matrix/server"), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0, "machine."+name)
			other, otherPort := listenAt(id.ServerName(name), 0)
			target := machine(name)
			zone.AddSRV("_matrix-fed._tcp", name, target, otherPort, 10, 0)
			delegate(name, wellKnown(fmt.Sprintf("%s:%d", target, port)))
			found(ctx, p, p.Name)
			Expect(other.Requests("")).To(BeEmpty())
		})

	It("3. is not believed where its certificate is by an authority that the server does not know",
		says("server-server-api#getwell-knownmatrixserver", "Gets information about the delegated server for server-server communication between Matrix homeservers."),
		follows(discoverySection, "a regular HTTPS request: it fails where the certificate can't be trusted, and the next step comes"), func(ctx SpecContext) {
			if !places[2].WellKnown {
				Skip("port 443 of a loopback address may not be bound here")
			}
			strange, err := fabric.NewCA()
			Expect(err).NotTo(HaveOccurred())
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			zone.AddSRV("_matrix-fed._tcp", name, machine(name), port, 10, 0)
			zone.AddAddress(name, places[2].IP)
			host := startPeer(peer.Config{Name: id.ServerName(name), Listen: net.JoinHostPort(ip(), "443"), CertificateNames: []string{name}, CA: strange})
			host.On("well-known", wellKnown("nowhere.test:1"))
			Expect(found(ctx, p, p.Name).Host).To(Equal(name))
		})

	It("3. is not asked again while its error is kept",
		says(discoverySection, "3. Responses (successful or otherwise) to the /.well-known endpoint should be cached by the requesting server."), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			zone.AddSRV("_matrix-fed._tcp", name, machine(name), port, 10, 0)
			asked := 0
			delegate(name, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				asked++
				peer.Fail(http.StatusNotFound, "M_NOT_FOUND")(w, r, next)
			})
			found(ctx, p, p.Name)
			_, err := profileOf(ctx, id.UserID("@nobody:"+name))
			Expect(status(err)).To(Equal(http.StatusNotFound))
			Expect(asked).To(Equal(1))
		})

	It("3. is asked at the name's own port 443, with the name as Host and SNI",
		says(discoverySection, "3. … a regular HTTPS request is made to https://<hostname>/.well-known/matrix/server"), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0, "machine."+name)
			target := machine(name)
			var host, sni string
			delegate(name, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				host, sni = r.Host, r.TLS.ServerName
				wellKnown(fmt.Sprintf("%s:%d", target, port))(w, r, next)
			})
			found(ctx, p, p.Name)
			Expect(host).To(Equal(name))
			Expect(sni).To(Equal(name))
		})
})

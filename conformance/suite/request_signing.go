package suite

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

const signingSection = "server-server-api#request-authentication"

// profileRequest is a harmless request that needs a signature.
func profileRequest() peer.ByHand {
	return peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/query/profile?user_id=" + url.QueryEscape(alice.ID)}
}

// signedProfile is the request with its right authorization, as text.
func signedProfile(p *peer.Peer) (peer.ByHand, string) {
	GinkgoHelper()
	r := profileRequest()
	a, err := p.Authorization(r, p.Key(), p.Name, sut.name)
	Expect(err).NotTo(HaveOccurred())
	return r, a.String()
}

var _ = Describe("Request signing", Label("s2s:request-signing"), func() {
	DescribeTable("requests that are signed rightly are taken",
		says(signingSection, "The names are case insensitive and order does not matter … Unknown parameters are ignored."), func(ctx SpecContext, change func(string) string) {
			p := newPeer()
			r, header := signedProfile(p)
			r.Authorization = []string{change(header)}
			answer, err := p.Do(ctx, sut.name, r)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
		},
		Entry("as usual", func(h string) string { return h }),
		Entry("without the destination, as older servers send", func(h string) string {
			return strings.Replace(h, `,destination="`+string(sut.name)+`"`, "", 1)
		}),
		Entry("with an unknown parameter", func(h string) string { return h + `,colour="blue"` }),
		Entry("with blanks and tabs around the commas", func(h string) string { return strings.ReplaceAll(h, ",", " \t, ") }),
		Entry("with several blanks after the scheme", func(h string) string { return strings.Replace(h, "X-Matrix ", "X-Matrix   ", 1) }),
		Entry("with names in capital letters", func(h string) string {
			return strings.NewReplacer("origin=", "ORIGIN=", "key=", "Key=", "sig=", "SIG=").Replace(h)
		}),
		Entry("in another order", func(h string) string {
			parts := strings.Split(strings.TrimPrefix(h, "X-Matrix "), ",")
			return "X-Matrix " + strings.Join([]string{parts[3], parts[1], parts[0], parts[2]}, ",")
		}),
		Entry("with values that are not quoted, colons included", func(h string) string {
			return strings.NewReplacer(`key="ed25519:peer"`, `key=ed25519:peer`, `destination="`+string(home)+`"`, "destination="+string(home)).Replace(h)
		}),
		Entry("with a value that has an escaped character", func(h string) string { return strings.Replace(h, `"ed25519:peer"`, `"ed25519:p\eer"`, 1) }),
	)

	DescribeTable("requests that are not signed rightly are refused",
		says(signingSection, "Every HTTP request made by a homeserver is authenticated using public key digital signatures."), func(ctx SpecContext, forge func(p *peer.Peer) peer.ByHand, others ...int) {
			p := asker()
			answer, err := p.Do(ctx, sut.name, forge(p))
			Expect(err).NotTo(HaveOccurred())
			Expect(append(others, http.StatusUnauthorized)).To(ContainElement(answer.Status), "%s", answer.String())
			Expect(answer.Code()).NotTo(BeEmpty(), "an error without an errcode: %s", answer)
		},
		Entry("no signature", Label(LabelDeployed), func(*peer.Peer) peer.ByHand {
			r := profileRequest()
			r.Authorization = []string{}
			return r
		}),
		Entry("garbage", Label(LabelDeployed), func(*peer.Peer) peer.ByHand {
			r := profileRequest()
			r.Authorization = []string{`X-Matrix origin="`}
			return r
		}, http.StatusBadRequest), // no status is named for what is no header of this scheme
		Entry("a client's token", Label(LabelDeployed), func(*peer.Peer) peer.ByHand {
			r := profileRequest()
			r.Authorization = []string{"Bearer " + alice.Token}
			return r
		}),
		Entry("a signature that is no Base64", altered(func(h string) string { return strings.Replace(h, `sig="`, `sig="!`, 1) })),
		Entry("a signature of another request", func(p *peer.Peer) peer.ByHand {
			r, header := signedProfile(p)
			r.URI += "&field=displayname"
			r.Authorization = []string{header}
			return r
		}),
		Entry("a signature for another method", func(p *peer.Peer) peer.ByHand {
			r, header := signedProfile(p)
			post := peer.ByHand{Method: http.MethodPost, URI: r.URI}
			a, err := p.Authorization(post, p.Key(), p.Name, sut.name)
			Expect(err).NotTo(HaveOccurred())
			Expect(a.String()).NotTo(Equal(header))
			r.Authorization = []string{a.String()}
			return r
		}),
		Entry("a key that the server does not publish", altered(func(h string) string { return strings.Replace(h, "ed25519:peer", "ed25519:other", 1) })),
		Entry("another key under the same ID", func(p *peer.Peer) peer.ByHand {
			r := profileRequest()
			a, err := p.Authorization(r, peer.NewKey("ed25519:peer"), p.Name, sut.name)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			return r
		}),
		Entry("in the name of another server", func(p *peer.Peer) peer.ByHand {
			other := newPeer()
			r := profileRequest()
			a, err := p.Authorization(r, p.Key(), other.Name, sut.name)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			return r
		}),
		Entry("in the name of a server that can't be found", Label(LabelDeployed), func(p *peer.Peer) peer.ByHand {
			r := profileRequest()
			a, err := p.Authorization(r, p.Key(), "nowhere.test", sut.name)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			return r
		}),
		Entry("in the name of the server itself", Label(LabelDeployed), func(p *peer.Peer) peer.ByHand {
			r := profileRequest()
			a, err := p.Authorization(r, p.Key(), sut.name, sut.name)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			return r
		}),
		Entry("a body other than the signed one", func(p *peer.Peer) peer.ByHand {
			r := p.SendRequest()
			a, err := p.Authorization(r, p.Key(), p.Name, sut.name)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			r.Body = bytes.Replace(r.Body, []byte(`"pdus":[]`), []byte(`"pdus":[{}]`), 1)
			return r
		}),
	)

	DescribeTable("requests for another destination are refused with 401",
		says(signingSection, "If this property is included, but the value does not match the receiving server's name, the receiving server must deny the request with an HTTP status code 401 Unauthorized."), func(ctx SpecContext, destination id.ServerName) {
			p := newPeer()
			r := profileRequest()
			a, err := p.Authorization(r, p.Key(), p.Name, destination)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			answer, err := p.Do(ctx, sut.name, r)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), "%s", answer.String())
		},
		Entry("another server", id.ServerName("two.test")),
		Entry("the server's name with a port", id.ServerName(home.Host()+":8449")),
		Entry("the host behind the name", id.ServerName("host."+home.Host())),
	)

	It("refuses a key that its server lists as old",
		says("server-server-api#publishing-keys", "It contains a list of old_verify_keys which are only valid for signing events."), func(ctx SpecContext) {
			p := newPeer()
			old := peer.NewKey("ed25519:old")
			p.AddOldKey(old, yesterday())
			r := profileRequest()
			a, err := p.Authorization(r, old, p.Name, sut.name)
			Expect(err).NotTo(HaveOccurred())
			r.Authorization = []string{a.String()}
			answer, err := p.Do(ctx, sut.name, r)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), "%s", answer.String())
		})

	It("refuses a key document that is not signed by its own key",
		says("server-server-api#publishing-keys", "Digital signatures for this object signed using the verify_keys."), func(ctx SpecContext) {
			p := newPeer()
			p.On("server", peer.Lie(func(document map[string]any) {
				document["valid_until_ts"] = yesterday().AddDate(1, 0, 0).UnixMilli()
			}))
			answer, err := p.Do(ctx, sut.name, profileRequest())
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), "%s", answer.String())
		})

	It("takes a new key once the server publishes it",
		says(signingSection, "key: the ID, including the algorithm name, of the sending server's key used to sign the request."), func(ctx SpecContext) {
			p := newPeer()
			answer, err := p.Do(ctx, sut.name, profileRequest())
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
			p.RotateKey(peer.NewKey("ed25519:second"))
			Eventually(func() int {
				answer, err := p.Do(ctx, sut.name, profileRequest())
				Expect(err).NotTo(HaveOccurred())
				return answer.Status
			}).Should(Equal(http.StatusOK))
		})

	It("signs its own requests in the form that every server understands",
		says(signingSection, "only use lower-case names, … avoid using backslashes in parameter values, and … avoid including whitespace around the commas"), func(ctx SpecContext) {
			p := newPeer()
			p.SetProfile(p.User("bob"), peer.Profile{DisplayName: "Bob"})
			Expect(profileOf(ctx, p.User("bob"))).To(HaveKeyWithValue("displayname", "Bob"))
			requests := p.Requests("profile")
			Expect(requests).To(HaveLen(1))
			Expect(requests[0].AuthErr).NotTo(HaveOccurred())
			Expect(requests[0].Header.Get("Authorization")).To(MatchRegexp(
				`^X-Matrix (origin|destination|key|sig|signature)=[^\s\\]+(,(origin|destination|key|sig|signature)=[^\s\\]+){3}$`))
			Expect(requests[0].Header.Get("Authorization")).To(ContainSubstring("destination="))
		})
})

// altered is the right authorization with its text changed.
func altered(change func(string) string) func(p *peer.Peer) peer.ByHand {
	return func(p *peer.Peer) peer.ByHand {
		r, header := signedProfile(p)
		r.Authorization = []string{change(header)}
		Expect(r.Authorization[0]).NotTo(Equal(header))
		return r
	}
}

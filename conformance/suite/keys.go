package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/testnet/peer"
)

// keyDocument is the answer of /_matrix/key/v2/server.
type keyDocument struct {
	ServerName string `json:"server_name"`
	VerifyKeys map[id.KeyID]struct {
		Key string `json:"key"`
	} `json:"verify_keys"`
	OldVerifyKeys map[id.KeyID]struct {
		Key       string `json:"key"`
		ExpiredTS int64  `json:"expired_ts"`
	} `json:"old_verify_keys"`
	ValidUntilTS int64                          `json:"valid_until_ts"`
	Signatures   map[string]map[id.KeyID]string `json:"signatures"`
	raw          json.RawMessage
}

func readKeys(raw json.RawMessage) keyDocument {
	GinkgoHelper()
	document := keyDocument{raw: raw}
	Expect(json.Unmarshal(raw, &document)).To(Succeed())
	return document
}

// signedBy checks a signature on the document with a key of that document or of another one.
func (d keyDocument) signedBy(signer keyDocument) {
	GinkgoHelper()
	Expect(d.Signatures).To(HaveKey(signer.ServerName), "%s has not signed %s", signer.ServerName, d.raw)
	for keyID, key := range signer.VerifyKeys {
		if _, ok := d.Signatures[signer.ServerName][keyID]; !ok {
			continue
		}
		public, err := signedjson.DecodeBase64(key.Key)
		Expect(err).NotTo(HaveOccurred())
		Expect(public).To(HaveLen(ed25519.PublicKeySize))
		Expect(signedjson.Verify(d.raw, signer.ServerName, keyID, public)).To(Succeed())
		return
	}
	Fail(fmt.Sprintf("no published key of %s has signed %s", signer.ServerName, d.raw))
}

// ownKeys is the key document of the server under test, asked for without a signature.
func ownKeys(ctx context.Context, p *peer.Peer) keyDocument {
	GinkgoHelper()
	answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/key/v2/server", Authorization: []string{}})
	Expect(err).NotTo(HaveOccurred())
	Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
	Expect(answer.Header.Get("Content-Type")).To(HavePrefix("application/json"))
	return readKeys(answer.Body)
}

// ask asks the server under test as a notary.
func ask(ctx context.Context, p *peer.Peer, r peer.ByHand) []keyDocument {
	GinkgoHelper()
	r.Authorization = []string{}
	answer, err := p.Do(ctx, sut.name, r)
	Expect(err).NotTo(HaveOccurred())
	Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
	var body struct {
		ServerKeys []json.RawMessage `json:"server_keys"`
	}
	Expect(json.Unmarshal(answer.Body, &body)).To(Succeed())
	Expect(body.ServerKeys).NotTo(BeNil(), "server_keys is missing: %s", answer)
	documents := make([]keyDocument, len(body.ServerKeys))
	for i, raw := range body.ServerKeys {
		documents[i] = readKeys(raw)
	}
	return documents
}

func askGet(ctx context.Context, p *peer.Peer, server id.ServerName, query string) []keyDocument {
	GinkgoHelper()
	return ask(ctx, p, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/key/v2/query/" + url.PathEscape(string(server)) + query})
}

var _ = Describe("Keys", Label("s2s:keys"), func() {
	const publishing, notary = "server-server-api#publishing-keys", "server-server-api#querying-keys-through-another-server"

	It("publishes its keys, signed with them, without being asked who wants to know", Label(LabelDeployed),
		says(publishing, "Homeservers publish their signing keys in a JSON object at /_matrix/key/v2/server."), func(ctx SpecContext) {
			document := ownKeys(ctx, asker())
			Expect(document.ServerName).To(Equal(string(sut.name)))
			Expect(document.VerifyKeys).NotTo(BeEmpty())
			Expect(document.ValidUntilTS).To(BeNumerically(">", time.Now().Add(time.Hour).UnixMilli()), "Intermediate notary servers should cache … requests should be made at half of it: an hour at least")
			document.signedBy(document)
		})

	It("answers for another server's keys, with its own signature besides",
		says(notary, "The notary server will additionally sign the response from the queried server before returning the results."), func(ctx SpecContext) {
			p := newPeer()
			p.AddOldKey(peer.NewKey("ed25519:old"), yesterday())
			documents := askGet(ctx, p, p.Name, "")
			Expect(documents).To(HaveLen(1))
			Expect(documents[0].ServerName).To(Equal(string(p.Name)))
			Expect(documents[0].OldVerifyKeys).To(HaveKey(id.KeyID("ed25519:old")))
			documents[0].signedBy(documents[0])
			documents[0].signedBy(ownKeys(ctx, p))
		})

	It("answers for several servers at once",
		says(notary, "Query for keys from multiple servers in a batch format. The receiving (notary) server must sign the keys returned by the queried servers."), func(ctx SpecContext) {
			p, other := newPeer(), newPeer()
			body := fmt.Sprintf(`{"server_keys":{"%s":{},"%s":{"ed25519:peer":{"minimum_valid_until_ts":1}}}}`, p.Name, other.Name)
			documents := ask(ctx, p, peer.ByHand{Method: http.MethodPost, URI: "/_matrix/key/v2/query", Body: []byte(body)})
			var names []string
			for _, document := range documents {
				names = append(names, document.ServerName)
				document.signedBy(document)
				document.signedBy(ownKeys(ctx, p))
			}
			Expect(names).To(ConsistOf(string(p.Name), string(other.Name)))
		})

	It("leaves out servers that don't answer",
		says(notary, "The keys for the server, or an empty array if the server could not be reached and no cached keys were available."), func(ctx SpecContext) {
			p := newPeer()
			Expect(askGet(ctx, p, "nowhere.test", "")).To(BeEmpty())
		})

	It("answers from its cache for a server that is offline",
		says(notary, "The keys for the server, or an empty array if the server could not be reached and no cached keys were available."), func(ctx SpecContext) {
			p, other := newPeer(), newPeer()
			Expect(askGet(ctx, p, other.Name, "")).To(HaveLen(1))
			other.Close()
			Expect(askGet(ctx, p, other.Name, "")).To(HaveLen(1))
		})

	It("asks again for a key that is not valid for long enough",
		says(notary, "The returned keys SHOULD be valid until at least this timestamp."), func(ctx SpecContext) {
			p := newPeer()
			Expect(askGet(ctx, p, p.Name, "")).To(HaveLen(1))
			before := len(p.Requests("server"))
			in30Hours := time.Now().Add(30 * time.Hour).UnixMilli() // the peer's document is valid for 24
			Eventually(func() int {                                 // a server may wait a moment before it asks the same server again
				askGet(ctx, p, p.Name, fmt.Sprintf("?minimum_valid_until_ts=%d", in30Hours))
				return len(p.Requests("server"))
			}).WithPolling(100 * time.Millisecond).Should(BeNumerically(">", before))
		})

	It("keeps a key that its server publishes no more",
		says(notary, "Notary servers can return keys for servers that are offline or having issues serving their own keys by using cached responses."), func(ctx SpecContext) {
			p, other := newPeer(), newPeer()
			query := func(minimum int64) []keyDocument {
				GinkgoHelper()
				body := fmt.Sprintf(`{"server_keys":{"%s":{"ed25519:peer":{"minimum_valid_until_ts":%d}}}}`, other.Name, minimum)
				return ask(ctx, p, peer.ByHand{Method: http.MethodPost, URI: "/_matrix/key/v2/query", Body: []byte(body)})
			}
			Expect(query(1)).NotTo(BeEmpty())
			before := len(other.Requests("server"))
			file := keys.KeyFile{Current: peer.NewKey("ed25519:next")}
			document, err := file.ServerKeys(other.Name, time.Now().Add(24*time.Hour))
			Expect(err).NotTo(HaveOccurred())
			other.On("server", peer.Answer(http.StatusOK, string(document)))
			in30Hours := time.Now().Add(30 * time.Hour).UnixMilli()
			Eventually(func() int { // a server may wait a moment before it asks the same server again
				query(in30Hours)
				return len(other.Requests("server"))
			}).WithPolling(100 * time.Millisecond).Should(BeNumerically(">", before))
			documents := query(1)
			Expect(documents).NotTo(BeEmpty())
			Expect(documents[0].VerifyKeys).To(HaveKey(id.KeyID("ed25519:peer")), "the key that was asked for is in the first document")
			documents[0].signedBy(documents[0])
			documents[0].signedBy(ownKeys(ctx, p))
		})

	It("does not vouch for keys that their server has not signed",
		says(notary, "The notary server will retrieve keys from the queried servers through use of the /_matrix/key/v2/server API."), func(ctx SpecContext) {
			p, liar := newPeer(), newPeer()
			liar.On("server", peer.Lie(func(document map[string]any) { document["server_name"] = string(p.Name) }))
			Expect(askGet(ctx, p, liar.Name, "")).To(BeEmpty())
		})
})

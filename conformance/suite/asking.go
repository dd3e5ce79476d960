package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/peer"
)

// ask makes a request of the server-server API, version 1, by the peer, and reads its answer where it is 200.
func (m meeting) ask(ctx context.Context, method, path string, body, answer any) (status int) {
	GinkgoHelper()
	return askBy(ctx, m.peer, method, path, body, answer)
}

func askBy(ctx context.Context, p *peer.Peer, method, path string, body, answer any) (status int) {
	GinkgoHelper()
	r := peer.ByHand{Method: method, URI: "/_matrix/federation/v1/" + path}
	if body != nil {
		r.Body = encode(body)
	}
	got, err := p.Do(ctx, sut.name, r)
	Expect(err).NotTo(HaveOccurred())
	if got.Status == http.StatusOK && answer != nil {
		Expect(json.Unmarshal(got.Body, answer)).To(Succeed(), "%s", got.String())
	}
	return got.Status
}

func text64(n int64) string { return strconv.FormatInt(n, 10) }

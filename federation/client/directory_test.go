package client_test

import (
	"context"
	"io"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
)

var _ = Describe("what other servers tell of users and rooms", func() {
	It("is read up to a bound, however long it is", func() {
		w := newWorld()
		written := make(chan int64, 10)
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			n, _ := io.WriteString(rw, `{"displayname":"`)
			total := int64(n)
			for range 1 << 10 { // 64 MiB, unless the client goes away
				n, err := io.WriteString(rw, strings.Repeat("x", 64<<10))
				if total += int64(n); err != nil {
					break
				}
			}
			written <- total
		}))
		c := w.client()
		for _, ask := range []func() error{
			func() error { _, err := c.QueryProfile(context.Background(), peer, "@a:peer.example", ""); return err },
			func() error {
				_, err := c.PublicRooms(context.Background(), peer, federation.PublicRoomsRequest{})
				return err
			},
			func() error {
				_, err := c.Hierarchy(context.Background(), peer, federation.HierarchyRequest{RoomID: "!a:peer.example"})
				return err
			},
		} {
			Expect(failure(ask()).Error()).To(ContainSubstring("larger than"))
			Expect(<-written).To(BeNumerically("<", 64<<20))
		}
	})
})

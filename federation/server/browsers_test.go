package server_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("pages in browsers", func() {
	It("may read what anybody may, and nothing that needs a signature", func() {
		w := newWorld()
		w.start()
		for _, path := range []string{"/_matrix/federation/v1/version", "/_matrix/key/v2/server"} {
			got := w.do("GET", path, "")
			Expect(got.status).To(Equal(200))
			Expect(got.header.Get("Access-Control-Allow-Origin")).To(Equal("*"))
		}
		Expect(w.do("GET", "/_matrix/federation/v1/publicRooms", "").header).NotTo(HaveKey("Access-Control-Allow-Origin"))
	})
})

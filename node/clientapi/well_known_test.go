package clientapi

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("what clients find", func() {
	It("is nothing that isn't configured", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		refused(w.nobody().get("/.well-known/matrix/support"), 404, "M_NOT_FOUND")
		refused(w.nobody().get("/.well-known/matrix/client"), 404, "M_NOT_FOUND")
		for _, path := range []string{"/_matrix/client/v1/rtc/transports", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"} {
			refused(alice.get(path), 404, "M_UNRECOGNIZED")
		}
	})

	It("is who helps", func() {
		w := newWorld(func(c *Config) {
			c.Support = Support{Page: "https://hanse.test/help", Contacts: []Contact{
				{MatrixID: "@root:hanse.test", Role: "m.role.admin"}, {EMailAddress: "security@hanse.test", Role: "m.role.security"},
			}}
		})
		Expect(fine(w.nobody().get("/.well-known/matrix/support")).body).To(Equal(obj{
			"support_page": "https://hanse.test/help",
			"contacts": []any{
				obj{"matrix_id": "@root:hanse.test", "role": "m.role.admin"},
				obj{"email_address": "security@hanse.test", "role": "m.role.security"},
			},
		}))
		w = newWorld(func(c *Config) { c.Support = Support{Page: "https://hanse.test/help"} })
		Expect(fine(w.nobody().get("/.well-known/matrix/support")).body).To(Equal(obj{"support_page": "https://hanse.test/help"}))
	})

	It("is what carries calls", func() {
		w := newWorld(func(c *Config) {
			c.BaseURL, c.LiveKitServiceURL = "https://matrix.hanse.test", "https://livekit.hanse.test"
		})
		alice := w.register("alice")
		transports := []any{obj{"type": "livekit", "livekit_service_url": "https://livekit.hanse.test"}}
		for _, path := range []string{"/_matrix/client/v1/rtc/transports", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"} {
			Expect(fine(alice.get(path)).body).To(Equal(obj{"rtc_transports": transports}))
			refused(w.nobody().get(path), 401, "M_MISSING_TOKEN")
		}
		Expect(fine(w.nobody().get("/.well-known/matrix/client")).body).To(Equal(obj{
			"m.homeserver": obj{"base_url": "https://matrix.hanse.test"}, "org.matrix.msc4143.rtc_foci": transports,
		}))
	})
})

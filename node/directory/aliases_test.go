package directory

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
)

// bridge is an application service that makes a room for an alias when it is asked for it.
type bridge struct {
	make  func(id.RoomAlias) bool
	asked []id.RoomAlias
}

func (b *bridge) HasAlias(_ context.Context, alias id.RoomAlias) (bool, error) {
	b.asked = append(b.asked, alias)
	return b.make(alias), nil
}

func (*bridge) Instance(string) (service, network string, ok bool) { return "", "", false }

var _ = Describe("An alias that isn't there", func() {
	It("is asked for at application services, by clients and by other servers", func(ctx context.Context) {
		d, s := newDirectory()
		room := newRoom(s)
		service := &bridge{make: func(alias id.RoomAlias) bool {
			return alias == tea && d.Create(ctx, alias, room, alice, false) == nil
		}}
		d.services = service
		notFound := func(err error) {
			GinkgoHelper()
			Expect(err).To(HaveField("Code", federation.CodeNotFound))
		}
		_, err := d.Known(ctx, tea)
		notFound(err)
		Expect(service.asked).To(BeEmpty())
		_, err = d.Local(ctx, "#other:example.org")
		notFound(err)
		_, err = d.Local(ctx, "#tea:elsewhere.org")
		notFound(err)
		found, err := d.Local(ctx, tea)
		Expect(err).NotTo(HaveOccurred())
		Expect(found.RoomID).To(Equal(room))
		Expect(d.Resolve(ctx, tea)).To(Equal(found))
		Expect(service.asked).To(Equal([]id.RoomAlias{"#other:example.org", tea}))
	})
})

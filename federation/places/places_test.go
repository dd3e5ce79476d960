package places

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// A server's requests wait for each other, not for those of others; who waits too long, or when all places are taken, is refused, and
// nothing of it is left.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = time.Second
		p := New[id.ServerName](2, 3)
		take := func(server id.ServerName) func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			release, err := p.Take(ctx, server)
			if err != nil {
				return nil
			}
			return release
		}
		first, second := take("a.example"), take("a.example")
		if first == nil || second == nil {
			t.Fatal("there is no place where none is taken")
		}
		late := make(chan func(), 1)
		go func() { late <- take("a.example") }()
		synctest.Wait()
		third := take("b.example")
		if third == nil {
			t.Fatal("a server waits for another one's requests")
		}
		if take("c.example") != nil {
			t.Error("more are taken than there are places")
		}
		if <-late != nil {
			t.Error("a server has more than its places")
		}
		go func() { late <- take("a.example") }()
		time.Sleep(patience / 2)
		first()
		fourth := <-late
		if fourth == nil {
			t.Fatal("a place that is free again isn't given to who waits")
		}
		for _, release := range []func(){second, third, fourth} {
			release()
		}
		tried := func(server id.ServerName) func() {
			release, _ := p.Try(server)
			return release
		}
		first, second, third = tried("a.example"), tried("a.example"), tried("b.example")
		if first == nil || second == nil || third == nil {
			t.Fatal("there is no place where none is taken")
		}
		if tried("a.example") != nil || tried("c.example") != nil {
			t.Error("more are taken than there are places")
		}
		for _, release := range []func(){first, second, third} {
			release()
		}
		if p.Owners() != 0 || len(p.all) != 0 {
			t.Errorf("%d servers and %d places are counted at the end", p.Owners(), len(p.all))
		}
	})
}

package client

import (
	"context"
	"errors"
	"sync/atomic"
)

// budget bounds the bytes of large answers that are in memory at a time, over all calls of a client: each of them may be as
// large as the largest room, and a hostile server may have us ask for many at once. Bytes count as they come, so that a slow
// answer takes no more than what it has brought. Safe for concurrent use.
type budget struct {
	most int64
	held atomic.Int64
}

// errBudget is the error of an answer for which there is no room now.
var errBudget = errors.New("too much is being fetched from other servers already, try again later")

func (b *budget) take(n int64) error {
	if b.held.Add(n) > b.most {
		return errBudget
	}
	return nil
}

// holding is what the answers of some calls take until their reader is done with them.
type holding struct {
	release []func() // owned by the reader's calls, which don't overlap
}

// holdingKey is the key of a context's holding.
type holdingKey struct{}

// Hold has the large answers of calls with the context count among what is in memory until release is called, rather than
// until they are read: for who works on them afterwards. Calls with one such context must not overlap.
func Hold(ctx context.Context) (held context.Context, release func()) {
	h := &holding{}
	return context.WithValue(ctx, holdingKey{}, h), func() {
		for _, f := range h.release {
			f()
		}
		h.release = nil
	}
}

// count has a large answer's body count against the budget; done must be called when it is read.
func (c *Client) count(ctx context.Context, body *answerBody) (done func()) {
	body.budget = &c.large
	release := func() { c.large.held.Add(-body.counted) }
	if h, ok := ctx.Value(holdingKey{}).(*holding); ok {
		return func() { h.release = append(h.release, release) }
	}
	return release
}

package store

import (
	"context"
	"errors"
	"testing"
)

// TestWhoGaveUpIsToldSo: a read that its asker gave up is that, however a driver calls it, and no fault of the database's.
func TestWhoGaveUpIsToldSo(t *testing.T) {
	r := &reader{classify: func(error) ErrorClass { return ConnectionError }}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	interrupted := errors.New("interrupted (9)")
	if err := r.failed(ctx, interrupted); !errors.Is(err, context.Canceled) || !errors.Is(err, interrupted) || Unavailable(err) {
		t.Error(err)
	}
}

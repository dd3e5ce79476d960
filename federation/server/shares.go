package server

import (
	"sync"
	"sync/atomic"
)

// shares count what is held for requests of which nobody has proven yet whose they are, of all and by where they come from. Once half of what may
// be is held, an address with an eighth of it gets no more: one alone would keep all others out. Safe for concurrent use.
type shares struct {
	most int64         // immutable
	all  *atomic.Int64 // written with mu held

	mu   sync.Mutex
	each map[string]int64 // guarded by mu; of those who hold any
}

func newShares(most int64, all *atomic.Int64) *shares {
	return &shares{most: most, all: all, each: map[string]int64{}}
}

// add counts so many more, or, if negative, fewer; false if that is too many: they are counted all the same.
func (s *shares) add(from string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, of := s.all.Add(n), s.each[from]+n
	if s.each[from] = of; of == 0 {
		delete(s.each, from)
	}
	return all <= s.most/2 || all <= s.most && of <= max(1, s.most/8)
}

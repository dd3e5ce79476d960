package inbound

import (
	"sync"

	"hanse/federation"
	"hanse/federation/id"
)

// answered keeps the newest answers to transactions, for those that come again because their answer got lost on the way. It is empty
// after a start: then what a transaction brought is found done. Safe for concurrent use.
type answered struct {
	mu         sync.Mutex
	young, old map[flight]federation.PDUResults // guarded by mu; when young is full it becomes old
}

// flight names a transaction.
type flight struct {
	origin id.ServerName
	txnID  string
}

// answeredMost bounds the answers in each generation; one takes some kilobytes.
const answeredMost = 256

func (a *answered) get(of flight) (federation.PDUResults, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if results, ok := a.young[of]; ok {
		return results, true
	}
	results, ok := a.old[of]
	return results, ok
}

// put keeps results, which nobody changes any more.
func (a *answered) put(of flight, results federation.PDUResults) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.young == nil || len(a.young) >= answeredMost {
		a.old, a.young = a.young, make(map[flight]federation.PDUResults)
	}
	a.young[of] = results
}

// Package hostile is the suite of hostile inputs: what a stranger, a client or another server could do to a node to stop
// it, fill it or make it lie, over real HTTP against a whole node process. While it does, the node's memory, goroutines and
// file descriptors are watched, and a bystander (a client who sends and syncs, a server that sends transactions) must be
// served.
//
// It is tests only. Overload, mixed load and whatever is held against the clock need a machine that does nothing else, and
// flags (`make hostile` has both):
//
//	go test -timeout 30m ./testnet/hostile -overload 1m   # overload for a minute, and times held against their marks
//	go test -timeout 30m ./testnet/hostile -soak 10m      # mixed load with restarts of peers
//
// HANSE_BIN names a hanse that was built already, as `make build` does; without it the suite builds one.
package hostile

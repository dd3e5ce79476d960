# make        builds ./hanse
# make test   runs the tests; needs Go and nothing else
.PHONY: build test race bench torture fuzz lint vulncheck interop interop-dendrite interop-chaos hostile mutants clean

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
# How long `make fuzz` runs each fuzz target, and how long `make bench` measures each benchmark.
FUZZTIME ?= 30s
BENCHTIME ?= 1s
# How often `make torture` kills a server on each database; HANSE_TORTURE_SEED repeats a campaign.
KILLS ?= 1000
# How many runs of each room version `make sim` makes, on all processors; SEED is the first one's, by the clock if it isn't given.
SEEDS ?= 2000
SEED ?= 0
# How long `make interop-chaos` breaks things, and with whom: synapse, or hanse, whose rounds are the quickest; SEED is its too.
CHAOS ?= 10m
PEER ?= synapse
SERVERS ?= 3

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o hanse .

# One package at a time: several of them start servers, which share the processors. Nothing is late that takes long on a slow machine.
test: build
	HANSE_BIN=$(CURDIR)/hanse $(GO) test -p 1 -timeout 30m ./...

# The race detector needs a C compiler. The suites that are left out start hanse as a process, which it doesn't look into.
race:
	$(GO) test -race -timeout 30m ./federation/... ./keys/... ./resolver/... ./node/... ./testnet/sim ./testnet/fabric

bench:
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./federation/... ./keys/... ./resolver/... ./node/...

# Servers that lose, delay, crash and lie, without a network: a failure is told with its seed, and as a small scenario.
.PHONY: sim
sim:
	$(GO) test -count=1 -timeout 0 -v -run Runs ./testnet/sim -seeds $(SEEDS) -seed $(SEED)

# kill -9 at work: on SQLite and, where HANSE_TEST_POSTGRES is set, on PostgreSQL. A second or so a kill.
torture:
	HANSE_TORTURE_KILLS=$(KILLS) $(GO) test -count=1 -timeout 0 -v ./testnet/torture

fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

lint:
	@test -z "$$(gofmt -l .)" || { echo "not formatted by gofmt:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# The vulnerability database is asked over the internet; where it can't be reached nothing is checked, and that is said.
vulncheck:
	@if $(GO) run $(GOVULNCHECK) ./...; then :; else code=$$?; \
		if curl -sf -m 15 -o /dev/null https://vuln.go.dev/index/db.json; then exit $$code; \
		else echo "vulnerabilities: NOT CHECKED, vuln.go.dev can't be reached from here"; fi; fi

# Hanse and Synapse, the reference homeserver, in one room; encrypted by a client from npm. Needs Python 3 and Node.js; makes
# environments of its own in .build/.
interop:
	./conformance/adapters/synapse-install.sh
	./conformance/interop/client/install.sh
	HANSE_INTEROP=synapse $(GO) test -count=1 -timeout 40m -v ./conformance/interop
	$(GO) run . conformance run --processes 2 --adapter conformance/adapters/synapse.sh --names literals --patience 30s --room-version 10 --room-version 12 \
		--expected conformance/adapters/synapse.expected

# The same with Dendrite, a homeserver in Go, which is built from the module proxy. Not part of .ci/run: it takes half an hour,
# since what Dendrite doesn't do is waited for, though not for long.
interop-dendrite:
	./conformance/adapters/dendrite-install.sh
	./conformance/interop/client/install.sh
	HANSE_INTEROP=dendrite $(GO) test -count=1 -timeout 40m -v ./conformance/interop
	$(GO) run . conformance run --processes 2 --adapter conformance/adapters/dendrite.sh --names literals --patience 6s \
		--room-version 1,2,3,4,5,6,7,8,9,10,11 --expected conformance/adapters/dendrite.expected

# Two Hanse servers and Synapse, or a third one, whose users do to each other what they may while links are cut and servers are
# killed: they must agree afterwards. A seed repeats what is done, not what comes of it. PEER=hanse-postgres is a Hanse on the PostgreSQL
# that HANSE_TEST_POSTGRES names; SERVERS beyond three are Hanse too. What the servers stored and logged is in .build/chaos then. Not part
# of .ci/run.
interop-chaos:
	if [ -x conformance/adapters/$(PEER)-install.sh ]; then ./conformance/adapters/$(PEER)-install.sh; fi
	rm -rf .build/chaos && mkdir -p .build/chaos
	HANSE_INTEROP=$(PEER) $(GO) test -count=1 -timeout 0 -v -run TestChaos ./conformance/interop -artifacts -outputdir $(CURDIR)/.build/chaos -chaos $(CHAOS) -seed $(SEED) -servers $(SERVERS)

# Hostile inputs, overload for a minute of each kind, ten minutes of mixed load; on a machine that does nothing else.
hostile:
	$(GO) test -count=1 -timeout 40m -v ./testnet/hostile -overload 1m -soak 10m

# The conformance suite's own test: a server that is wrong in one thing at a time, some hundreds of them. Two minutes.
mutants:
	HANSE_MUTANTS=all $(GO) test -count=1 -timeout 20m -v ./conformance/mutant

clean:
	rm -rf hanse .build

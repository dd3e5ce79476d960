package keys

import (
	"runtime"
	"sync"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/verifykey"
)

// prepared holds the tables of the keys that are used most, which make a check three times as fast. A key gets one once
// it was used so often that the table would have paid for itself: however keys come, hardly more time is spent on tables
// than they save. Safe for concurrent use.
type prepared struct {
	base func() *verifykey.Base // made with the first table: a node at rest has none

	mu     sync.Mutex
	uses   map[keyBytes]int          // of keys without a table, at most maxCounted; guarded by mu
	tables map[keyBytes]*preparedKey // at most maxPrepared; guarded by mu
	clock  uint64                    // counts the uses of tables, for their order; guarded by mu
}

type keyBytes [ed25519.PublicKeySize]byte

type preparedKey struct {
	key  func() *verifykey.Key // works the table out at the first call; others who call wait for it
	used uint64                // the clock at the last use; guarded by prepared.mu
}

func newPrepared() *prepared {
	return &prepared{base: sync.OnceValue(verifykey.NewBase), uses: map[keyBytes]int{}, tables: map[keyBytes]*preparedKey{}}
}

// key is the table of a key that is about to be used for n checks; nil if it isn't worth one.
func (p *prepared) key(public ed25519.PublicKey, n int) *verifykey.Key {
	if len(public) != ed25519.PublicKeySize {
		return nil
	}
	k := p.find(keyBytes(public), n)
	if k == nil {
		return nil
	}
	return k.key()
}

func (p *prepared) find(public keyBytes, n int) *preparedKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock++
	if k := p.tables[public]; k != nil {
		k.used = p.clock
		return k
	}
	uses := p.uses[public] + n
	if uses < usesPrepared {
		if _, counted := p.uses[public]; !counted && len(p.uses) >= maxCounted {
			clear(p.uses) // who is used often is back at once
		}
		p.uses[public] = uses
		return nil
	}
	delete(p.uses, public)
	if len(p.tables) >= maxPrepared {
		p.evict()
	}
	k := &preparedKey{key: sync.OnceValue(func() *verifykey.Key { return verifykey.New(public[:]) }), used: p.clock}
	p.tables[public] = k
	return k
}

// evict drops the table that wasn't used for longest. mu is held.
func (p *prepared) evict() {
	var eldest keyBytes
	least := p.clock + 1
	for public, k := range p.tables {
		if k.used < least {
			eldest, least = public, k.used
		}
	}
	delete(p.tables, eldest)
}

// trial is one signature that is tried with one key.
type trial struct {
	keyID              id.KeyID
	public             ed25519.PublicKey
	message, signature []byte
	good               bool // the verdict
}

// judge judges signatures on all cores, those by the same key together.
func (p *prepared) judge(trials []trial) {
	groups := groupsOf(trials, runtime.GOMAXPROCS(0))
	parallel(len(groups), func(i int) { p.judgeGroup(trials, groups[i]) })
}

// group is some signatures that are tried with the same key.
type group struct {
	members []int // of the trials, at most groupSize
	uses    int   // of the key, that haven't been counted by another group
}

// groupsOf takes trials apart by their keys, in groups small enough that all cores have some: of those by one key each core as many as the
// others, since who asks waits for the last.
func groupsOf(trials []trial, cores int) []group {
	if len(trials) == 1 {
		return []group{{members: []int{0}, uses: 1}}
	}
	byKey := make(map[string][]int, min(len(trials), 64))
	var order []string // so that the work doesn't depend on the map's order
	for i := range trials {
		public := string(trials[i].public)
		if byKey[public] == nil {
			order = append(order, public)
		}
		byKey[public] = append(byKey[public], i)
	}
	size := min(groupSize, max(minGroup, divideUp(len(trials), cores)))
	groups := make([]group, 0, len(order)+len(trials)/size)
	for _, public := range order {
		members := byKey[public]
		left := divideUp(len(members), size)
		if even := cores * divideUp(left, cores); left > 1 && even*minGroup <= len(members) {
			left = even
		}
		for uses := len(members); left > 0; uses, left = 0, left-1 {
			n := divideUp(len(members), left)
			groups = append(groups, group{members: members[:n], uses: uses})
			members = members[n:]
		}
	}
	return groups
}

// divideUp is a/b, rounded up.
func divideUp(a, b int) int { return (a + b - 1) / b }

// judgeGroup judges the signatures of a group. The verdicts are those of ed25519 whether the key has a table or not.
func (p *prepared) judgeGroup(trials []trial, g group) {
	key := p.key(trials[g.members[0]].public, g.uses)
	if key == nil {
		for _, i := range g.members {
			t := &trials[i]
			t.good = goodSignature(t.public, t.message, t.signature)
		}
		return
	}
	var checks [groupSize]verifykey.Check
	for at, i := range g.members {
		checks[at] = verifykey.Check{Key: key, Message: trials[i].message, Signature: trials[i].signature}
	}
	p.base().Verify(checks[:len(g.members)])
	for at, i := range g.members {
		trials[i].good = checks[at].Good
	}
}

// goodSignature is ed25519.Verify, which doesn't take keys of a wrong length.
func goodSignature(public ed25519.PublicKey, message, signature []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, message, signature)
}

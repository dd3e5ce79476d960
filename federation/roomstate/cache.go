package roomstate

// Node is a node of a state in memory, with all that is below it. It is immutable, and means nothing outside this
// package.
type Node struct{ node *node }

// Cache lets states that are read share their equal parts in memory. ReadBatches calls it while it reads; if several
// goroutines read through one cache, its owner guards it.
type Cache interface {
	// Node returns the node with that hash if the cache has it.
	Node(Hash) (Node, bool)
	// Add may keep a node. Each call is for another node of a state that was read completely.
	Add(Hash, Node)
}

// Generations is a Cache of bounded size. It keeps what was asked for or added most recently, in two generations: when
// the young one is full it becomes the old one, and the old one is dropped. It is not safe for concurrent use.
type Generations struct {
	limit      int
	young, old map[Hash]Node
}

// NewGenerations returns an empty cache that refers to at most nodes nodes, two at least. What lies below a kept node
// stays in memory with it: a node of the store stands for about six entries.
func NewGenerations(nodes int) *Generations {
	return &Generations{limit: max(nodes/2, 1), young: map[Hash]Node{}}
}

// Node implements Cache.
func (g *Generations) Node(h Hash) (Node, bool) {
	if n, ok := g.young[h]; ok {
		return n, true
	}
	n, ok := g.old[h]
	if ok {
		g.Add(h, n)
	}
	return n, ok
}

// Add implements Cache.
func (g *Generations) Add(h Hash, n Node) {
	if len(g.young) >= g.limit {
		g.old, g.young = g.young, make(map[Hash]Node, g.limit)
	}
	g.young[h] = n
}

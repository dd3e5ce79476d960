package store

import "testing"

func TestGenerationsAreBounded(t *testing.T) {
	sum := func(g *generations[int, int]) (n int) {
		for _, m := range []map[int]int{g.young, g.old} {
			for _, v := range m {
				n += v
			}
		}
		return n
	}
	g := newGenerations[int](100, func(v int) int { return v })
	for i := range 1000 {
		g.put(i, 10)
		g.get(0) // always in use
		if got := sum(g); got > 130 {
			t.Fatalf("after %d puts it holds %d", i, got)
		}
	}
	if _, ok := g.get(0); !ok {
		t.Error("what was always in use is gone")
	}
	if _, ok := g.get(500); ok {
		t.Error("what was not in use is still there")
	}
	g.drop(0)
	if _, ok := g.get(0); ok {
		t.Error("what was dropped is still there")
	}
}

func TestListsHaveFewTexts(t *testing.T) {
	texts, values := map[string]bool{}, 0
	ids := make([]string, 1000)
	for n := 1; n <= len(ids); n++ {
		err := list("SELECT %s", []any{1}, ids[:n], func(query string, args []any) error {
			texts[query] = true
			values += len(args) - 1
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(texts) > 9 {
		t.Errorf("%d statements for lists of all lengths", len(texts))
	}
	if !texts["SELECT $2,$3,$4,$5"] {
		t.Error("placeholders do not begin after the fixed arguments")
	}
}

func TestMigrationsAreInOrder(t *testing.T) {
	all, err := migrations(Dialect{Integer: "I", Bytes: "B", Text: "T", TableEnd: ""})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range all {
		if m.version != i+1 || len(m.statements) == 0 {
			t.Errorf("migration %d has version %d and %d statements", i+1, m.version, len(m.statements))
		}
	}
}

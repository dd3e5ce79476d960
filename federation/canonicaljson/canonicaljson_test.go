package canonicaljson

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

type vector struct {
	Name, Input     string
	Strict, Lenient *string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

var modes = map[string]Mode{"strict": Strict, "lenient": Lenient}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		for name, want := range map[string]*string{"strict": v.Strict, "lenient": v.Lenient} {
			got, err := Append([]byte("before"), []byte(v.Input), modes[name])
			switch {
			case want != nil && (err != nil || string(got) != "before"+*want):
				t.Errorf("%s, %s: got %q, %v, want %q", v.Name, name, got, err, *want)
			case want == nil && err == nil:
				t.Errorf("%s, %s: got %q, want an error", v.Name, name, got)
			case want == nil && string(got) != "before":
				t.Errorf("%s, %s: dst became %q", v.Name, name, got)
			}
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%s, %s: error %T", v.Name, name, err)
			}
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	for _, text := range []string{
		"\"\xff\"", "\"a\x80\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe6\x97\"", "{\"\xff\":1}", "\xff",
		" \"\xff\"",
	} {
		for name, mode := range modes {
			if got, err := Append(nil, []byte(text), mode); err == nil {
				t.Errorf("%q, %s: got %q", text, name, got)
			}
		}
	}
	// U+FFFD itself is valid.
	if got, err := Append(nil, []byte(`"`+"\uFFFD"+`"`), Strict); err != nil || string(got) != "\"\uFFFD\"" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNesting(t *testing.T) {
	for _, c := range []struct{ open, inner, shut string }{{"[", "", "]"}, {`{"a":`, "1", "}"}, {" [", "", "]"}} {
		nest := func(n int) []byte {
			return []byte(strings.Repeat(c.open, n) + c.inner + strings.Repeat(c.shut, n))
		}
		if _, err := Append(nil, nest(MaxNesting), Strict); err != nil {
			t.Errorf("%d deep %q: %v", MaxNesting, c.open, err)
		}
		if _, err := Append(nil, nest(MaxNesting+1), Strict); err == nil {
			t.Errorf("%d deep %q accepted", MaxNesting+1, c.open)
		}
	}
}

// One object in another in another, none in order, is not read again for each level.
func TestNestedDisorderIsLinear(t *testing.T) {
	text := strings.Repeat(`{"b":"`+strings.Repeat("x", 1000)+`","a":`, 900) + "1" + strings.Repeat("}", 900)
	got, err := Append(nil, []byte(text), Strict)
	if err != nil || len(got) != len(text) || !bytes.HasPrefix(got, []byte(`{"a":{"a":{"a":`)) {
		t.Errorf("got %.40q…, %v", got, err)
	}
}

var seedFlag = flag.Uint64("seed", 1, "of random values; 0: by chance, so that no change is refused for what it didn't do")

// What Append makes is a fixpoint, and means what the text meant.
func TestRandomValues(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		var buf bytes.Buffer
		writeRandom(&buf, r, 4)
		checkFixpoint(t, buf.Bytes())
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

func checkFixpoint(t *testing.T, text []byte) {
	t.Helper()
	for name, mode := range modes {
		once, err := Append(nil, text, mode)
		if err != nil {
			continue
		}
		twice, err := Append(nil, once, mode)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s: %q gives %q, which gives %q, %v", name, text, once, twice, err)
		}
		if s := (scanner{src: once, mode: mode}); mode == Strict && !s.canonical() {
			t.Fatalf("%s: %q is not seen as canonical", name, once)
		}
		var before, after any
		if json.Unmarshal(text, &before) != nil {
			continue
		}
		if err := json.Unmarshal(once, &after); err != nil {
			t.Fatalf("%s: %q gives %q: %v", name, text, once, err)
		}
		b, _ := json.Marshal(before)
		a, _ := json.Marshal(after)
		if string(a) != string(b) && !(mode != Strict && bytes.Contains(b, []byte("-0"))) {
			t.Fatalf("%s: %q gives %q, which means another thing", name, text, once)
		}
	}
}

func writeRandom(buf *bytes.Buffer, r *rand.Rand, depth int) {
	space := func() {
		if r.IntN(4) == 0 {
			buf.WriteString([]string{" ", "\n", "\t\r"}[r.IntN(3)])
		}
	}
	text := func() {
		buf.WriteByte('"')
		for range r.IntN(4) {
			buf.WriteString([]string{"a", "b", "ü", "日", "😀", `\n`, `\u0001`, `\u0062`, `\"`, `\\`, `\/`, `\ud83d\ude00`}[r.IntN(12)])
		}
		buf.WriteByte('"')
	}
	space()
	defer space()
	kind := r.IntN(7)
	if depth == 0 {
		kind = r.IntN(5)
	}
	switch kind {
	case 0:
		buf.WriteString([]string{"true", "false", "null"}[r.IntN(3)])
	case 1, 2:
		text()
	case 3:
		b, _ := json.Marshal(r.Int64N(1 << 60 >> r.IntN(60)))
		buf.Write(b)
	case 4:
		buf.WriteString([]string{"-1", "1.5", "1e3", "-0", "1E-7", "12345678901234567890"}[r.IntN(6)])
	case 5:
		buf.WriteByte('[')
		for i := range r.IntN(4) {
			if i > 0 {
				buf.WriteByte(',')
			}
			writeRandom(buf, r, depth-1)
		}
		buf.WriteByte(']')
	case 6:
		buf.WriteByte('{')
		for i := range r.IntN(4) {
			if i > 0 {
				buf.WriteByte(',')
			}
			space()
			text()
			buf.WriteByte(':')
			writeRandom(buf, r, depth-1)
		}
		buf.WriteByte('}')
	}
}

func TestAppendWithout(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`{}`, `{}`},
		{`{"x":1}`, `{}`},
		{`{"a":1,"x":2}`, `{"a":1}`},
		{`{"x":1,"y":2}`, `{"y":2}`},
		{`{"a":1,"x":{"x":[1]},"y":2}`, `{"a":1,"y":2}`},
		{`{"a":{"x":1},"xx":2}`, `{"a":{"x":1},"xx":2}`},
		{`[{"x":1}]`, `[{"x":1}]`},
		{`{"y":1, "x":2, "a":3}`, `{"a":3,"y":1}`},
		{`{"y":1, "\u0078":2}`, `{"y":1}`},
		{` {"x":[{}]} `, `{}`},
		// Numbers in it do not count, elsewhere they do.
		{`{"a":1,"x":1.5}`, `{"a":1}`},
		{`{"a":1,"x":{"b":1e3,"a":-0}}`, `{"a":1}`},
		{`{"a":1,"x":{"a":9007199254740992},"y":2}`, `{"a":1,"y":2}`},
		{`{"x":1.5,"y":1.5}`, ``},
		{`{"a":{"x":1.5}}`, ``},
		{`{"a":1,"x":2,"x":3}`, ``},
		{`{"a":1,"x":}`, ``},
		{`{"a":1,"x":{"b":1,"b":2}}`, ``},
	} {
		got, err := AppendWithout(nil, []byte(c.src), "x", Strict)
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %s, %v", c.src, got, err)
		}
	}
}

func TestMarshal(t *testing.T) {
	got, err := Marshal(map[string]any{"b": "<&>\u2028", "a": []int{1, 2}, "c": nil})
	if want := "{\"a\":[1,2],\"b\":\"<&>\u2028\",\"c\":null}"; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := Marshal(1.5); err == nil {
		t.Errorf("got %s", got)
	}
	if got, err := Marshal(make(chan int)); err == nil {
		t.Errorf("got %s", got)
	}
}

// FuzzAppend: the result is a fixpoint, what is taken for JSON is JSON, and reading it back
// finds every member.
func FuzzAppend(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Input))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		checkFixpoint(t, text)
		canonical, err := Append(nil, text, Lenient)
		if err != nil {
			return
		}
		if !json.Valid(text) || !json.Valid(canonical) {
			t.Fatalf("%q gives %q", text, canonical)
		}
		var members map[string]json.RawMessage
		if !IsObject(canonical) || json.Unmarshal(canonical, &members) != nil {
			return
		}
		n := 0
		for key, value := range Members(canonical) {
			n++
			if want := members[Unescape(key)]; !bytes.Equal(want, value) {
				t.Fatalf("%q: %q is %q, want %q", canonical, key, value, want)
			}
		}
		if n != len(members) {
			t.Fatalf("%q: %d members, want %d", canonical, n, len(members))
		}
		without, err := AppendWithout(nil, text, "a", Lenient)
		want := Filter(nil, canonical, func(key []byte) bool { return !KeyIs(key, "a") })
		if err != nil || !bytes.Equal(without, want) {
			t.Fatalf("%q without a is %q, %v", text, without, err)
		}
		if all := Filter(nil, canonical, func([]byte) bool { return true }); !bytes.Equal(all, canonical) {
			t.Fatalf("%q filtered is %q", canonical, all)
		}
	})
}

// FuzzRead: reading text that is not canonical ends, and does not panic.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"\\"]},"c":"d"}`))
	f.Add([]byte(`{"a\":1`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for key, value := range Members(text) {
			KeyIs(key, "a")
			String(value)
			Int(value)
			for range Elements(value) {
			}
		}
		for range Elements(text) {
		}
	})
}

func benchmarkEvent() []byte {
	return []byte(`{"auth_events":["$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg","$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk"],"content":{"body":"The quick brown fox jumps over the lazy dog","msgtype":"m.text"},"depth":1234,"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},"origin_server_ts":1432735824653,"prev_events":["$CD66HAED5npg6074c6pDtLKalHjVfYb2q4Q3LZgrW6o"],"room_id":"!OGEhHVWSdvArJzumhm:example.org","sender":"@alice:example.org","signatures":{"example.org":{"ed25519:1":"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"}},"type":"m.room.message"}`)
}

func BenchmarkAppendCanonical(b *testing.B) {
	text := benchmarkEvent()
	dst := make([]byte, 0, len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(dst, text, Strict); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDisordered(b *testing.B) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(benchmarkEvent(), &members); err != nil {
		b.Fatal(err)
	}
	var keys []string
	for key := range members {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	slices.Reverse(keys)
	text := []byte("{")
	for _, key := range keys {
		text = append(append(append(text, ` "`+key+`" : `...), members[key]...), ',')
	}
	text[len(text)-1] = '}'
	dst := make([]byte, 0, len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(dst, text, Strict); err != nil {
			b.Fatal(err)
		}
	}
}

func TestValuesAreBounded(t *testing.T) {
	lists := func(n int, space string) []byte {
		return []byte("[" + space + strings.Repeat("[],", n-2) + "[]]") // n values with the outer one
	}
	if _, err := Append(nil, lists(2*MaxValues, ""), Lenient); err != nil {
		t.Errorf("canonical text of many values: %v", err)
	}
	if _, err := Append(nil, lists(MaxValues, " "), Lenient); err != nil {
		t.Errorf("%d values: %v", MaxValues, err)
	}
	if _, err := Append(nil, lists(MaxValues+1, " "), Lenient); err == nil {
		t.Errorf("more than %d values are put in order", MaxValues)
	}
}

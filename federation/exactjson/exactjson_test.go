package exactjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type inner struct {
	Kind string `json:"kind"`
	Size int    `json:"size"`
}

type promoted struct {
	Kind  string `json:"kind"` // outer has its own
	Other string `json:"other"`
}

type itself struct{ text string }

func (i *itself) UnmarshalJSON(data []byte) error {
	i.text = string(data)
	return nil
}

type outer struct {
	promoted
	Kind    string                `json:"kind,omitempty"`
	Size    *int                  `json:"size"`
	One     inner                 `json:"one"`
	Far     **inner               `json:"far"`
	List    []inner               `json:"list"`
	Named   map[string]inner      `json:"named"`
	Deep    map[string][]*[]inner `json:"deep"`
	Plain   map[string]string     `json:"plain"`
	Raw     json.RawMessage       `json:"raw"`
	Any     any                   `json:"any"`
	Itself  itself                `json:"itself"`
	Itselfs []*itself             `json:"itselfs"`
	Dot     string                `json:"m.dot"`
	Skipped string                `json:"-"`
}

// Each text is read as the other is by encoding/json.
var same = []struct{ text, as string }{
	{`{"kind":"a"}`, `{"kind":"a"}`},
	{`{"Kind":"a"}`, `{}`},
	{`{"KIND":1,"kind":"a"}`, `{"kind":"a"}`},
	{`{"kind":"a","KIND":"b"}`, `{"kind":"a"}`},
	{`{"kind":"a","kind":"b"}`, `{"kind":"b"}`},
	{`{"kind":"a","kind":null}`, `{"kind":null}`},
	{`{"kind":"a","\u006bind":"b"}`, `{"kind":"b"}`},
	{`{"\u004bind":"b"}`, `{}`},
	{`{"\u212aind":"b"}`, `{}`},
	{"{\"\u212aind\":\"b\",\"li\u017ft\":[]}", `{}`},
	{` { "Kind" : "a" , "size" : 1 } `, `{"size":1}`},
	{`{"other":"x","Other":"y","OTHER":"z"}`, `{"other":"x"}`},
	{`{"M.dot":"x"}`, `{}`},
	{`{"one":{"kind":"a","Kind":"b","size":1}}`, `{"one":{"kind":"a","size":1}}`},
	{`{"one":{"kind":"a"},"one":{"size":1}}`, `{"one":{"size":1}}`},
	{`{"One":{"kind":"a"}}`, `{}`},
	{`{"far":{"Kind":"a","size":2}}`, `{"far":{"size":2}}`},
	{`{"list":[{"Kind":"a"},{"kind":"b"},null,{"kind":"c","SIZE":4}]}`, `{"list":[{},{"kind":"b"},null,{"kind":"c"}]}`},
	{`{"list":[{"kind":"a"}],"list":[{"size":3}]}`, `{"list":[{"size":3}]}`},
	{`{"list":[{"kind":"a","size":3},{"size":4,"size":5,"kind":"b"}]}`, `{"list":[{"kind":"a","size":3},{"size":5,"kind":"b"}]}`},
	{`{"named":{"Kind":{"Kind":"a"},"kind":{"kind":"a"}}}`, `{"named":{"Kind":{},"kind":{"kind":"a"}}}`},
	{`{"named":{"a":{"kind":"a"}},"named":{"b":{"kind":"b"}}}`, `{"named":{"b":{"kind":"b"}}}`},
	{`{"deep":{"KIND":[[{"Kind":"a"},{"size":1}],null]}}`, `{"deep":{"KIND":[[{},{"size":1}],null]}}`},
	{`{"plain":{"Kind":"a","kind":"b"}}`, `{"plain":{"Kind":"a","kind":"b"}}`},
	{`{"raw":{"Kind":"a","kind":"b","kind":"c"}}`, `{"raw":{"Kind":"a","kind":"b","kind":"c"}}`},
	{`{"any":{"Kind":"a","kind":"b"}}`, `{"any":{"Kind":"a","kind":"b"}}`},
	{`{"itself":{"Kind":"a"},"itselfs":[{"Kind":"a"}]}`, `{"itself":{"Kind":"a"},"itselfs":[{"Kind":"a"}]}`},
	{`{"ignored":{"kind":"x","Kind":[{}]},"also":"\"}","kind":"a"}`, `{"kind":"a"}`},
	{`{"Hidden":"x","hidden":"y","Skipped":"z","-":"z"}`, `{}`},
	{`{"":"x","kind":"a"}`, `{"kind":"a"}`},
	{`{"ignored":"\\","Kind":"x","also":"\\\"","KIND":"x","kind":"\"\\"}`, `{"kind":"\"\\"}`},
	// The same struct again and again, and in itself.
	{`{"one":{"kind":"a"},"far":{"kind":"b","Kind":"c"},"list":[{"kind":"d"},{"kind":"e","KIND":1,"size":6}],"one":{"Size":7,"kind":"f"}}`,
		`{"far":{"kind":"b"},"list":[{"kind":"d"},{"kind":"e","size":6}],"one":{"kind":"f"}}`},
	{`{"deep":{"a":[[{"kind":"a"}],[{"kind":"b","kind":"c"}]],"a":[[{"Kind":"d","size":2}]]}}`, `{"deep":{"a":[[{"size":2}]]}}`},
	{`null`, `null`},
	// Of the wrong kind: as encoding/json.
	{`[]`, `[]`}, {`"a"`, `"a"`}, {`{"one":[]}`, `{"one":[]}`}, {`{"list":{}}`, `{"list":{}}`}, {`{"size":1.0}`, `{"size":1.0}`},
	{`{"one":{"Size":"x"}}`, `{"one":{}}`}, {`{"one":{"size":"x"}}`, `{"one":{"size":"x"}}`},
	{`{"m.dot":"x","far":{"size":1e3}}`, `{"m.dot":"x","far":{"size":1e3}}`},
}

// What is no JSON is an error, and no more.
var broken = []string{
	``, ` `, `{`, `{"`, `{"kind`, `{"kind"`, `{"kind":`, `{"kind":"a`, `{"kind":"a"`, `{"kind":"a",`, `{"kind":"a",}`, `{"kind" "a"}`, `{kind:1}`,
	`{"one":{]`, `{"list":[}`, `{"list":[{"kind":"a"}`, `{"list":[,]}`, `}`, `]`, `{"list":[1 2]}`, `{"kind\`, `{"kind":"a"}}`, `{"kind":"a"}x`,
	`{"\ukind":1}`, `{"Kind":}`, `{"one":{"kind":"a"]}`, "{\"kind\":\"\xff\"}", "{\"kind\":\"\xed\xa0\x80\"}", `{"KIND":"a"`, `{"kind":"a","kind":`,
}

func TestNamesAreExact(t *testing.T) {
	for _, c := range same {
		var got, want outer
		before := []byte(c.text)
		err := Unmarshal(before, &got)
		wantErr := json.Unmarshal([]byte(c.as), &want)
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v, %v", c.text, got, err, want, wantErr)
		}
		if string(before) != c.text {
			t.Errorf("%s: the text became %s", c.text, before)
		}
	}
}

func TestWhatIsNoJSON(t *testing.T) {
	for _, text := range broken {
		var into outer
		if err := Unmarshal([]byte(text), &into); err == nil {
			t.Errorf("%q: got %+v", text, into)
		}
	}
	if err := Unmarshal([]byte(`{}`), outer{}); err == nil {
		t.Error("into no pointer: no error")
	}
	if err := Unmarshal([]byte(`{}`), nil); err == nil {
		t.Error("into nothing: no error")
	}
}

type endless struct {
	Inside []endless `json:"inside"`
}

func TestNestingIsBounded(t *testing.T) {
	nest := func(n int) []byte {
		return []byte(strings.Repeat(`{"inside":[`, n) + strings.Repeat(`]}`, n))
	}
	var into endless
	if err := Unmarshal(nest(maxNesting/2), &into); err != nil {
		t.Errorf("%d deep: %v", maxNesting, err)
	}
	if err := Unmarshal(nest(maxNesting/2+1), &into); err == nil {
		t.Errorf("more than %d deep: no error", maxNesting)
	}
}

// More fields, more structs and more objects in each other than there is room for at first.
func TestMuchOfEverything(t *testing.T) {
	var fields []reflect.StructField
	text := "{"
	for i := range 70 {
		name := fmt.Sprintf("name%d", i)
		fields = append(fields, reflect.StructField{Name: "F" + name, Type: reflect.TypeFor[outer](), Tag: reflect.StructTag(`json:"` + name + `"`)})
		text += fmt.Sprintf(`"%s":{"kind":"%d","one":{"size":%d,"Size":0}},"%s":{"kind":"wrong"},`, name, i, i, strings.ToUpper(name))
	}
	into := reflect.New(reflect.StructOf(fields))
	if err := Unmarshal([]byte(strings.TrimSuffix(text, ",")+"}"), into.Interface()); err != nil {
		t.Fatal(err)
	}
	for i := range fields {
		if got := into.Elem().Field(i).Interface().(outer); got.Kind != fmt.Sprint(i) || got.One.Size != i {
			t.Errorf("field %d: %+v", i, got)
		}
	}
}

// exactly is what a member of an object holds, read the slow way: by maps, whose keys are exact.
func exactly(text json.RawMessage, name string) (json.RawMessage, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return nil, false
	}
	value, ok := members[name]
	return value, ok
}

// FuzzUnmarshal: every text is read as if it held the members that fields have, to the letter, and nothing else.
func FuzzUnmarshal(f *testing.F) {
	for _, c := range same {
		f.Add([]byte(c.text))
	}
	for _, text := range broken {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		type leaf struct {
			Kind json.RawMessage `json:"kind"`
			List json.RawMessage `json:"list"`
		}
		type tree struct {
			Kind json.RawMessage `json:"kind"`
			One  leaf            `json:"one"`
			List []leaf          `json:"list"`
		}
		check := func(what string, of json.RawMessage, kind json.RawMessage) {
			want, _ := exactly(of, "kind")
			if !bytes.Equal(want, kind) {
				t.Fatalf("%q: %s.kind is %q, want %q", text, what, kind, want)
			}
		}
		before := bytes.Clone(text)
		var got tree
		err := Unmarshal(text, &got)
		if !bytes.Equal(before, text) {
			t.Fatalf("%q became %q", before, text)
		}
		if !json.Valid(text) && err == nil {
			t.Fatalf("%q was taken for JSON", text)
		}
		if err != nil {
			return
		}
		check("it", text, got.Kind)
		one, _ := exactly(text, "one")
		check("one", one, got.One.Kind)
		list, _ := exactly(text, "list")
		var all []json.RawMessage
		if list != nil && json.Unmarshal(list, &all) != nil || len(all) != len(got.List) {
			t.Fatalf("%q: list is %q, want %q", text, got.List, list)
		}
		for i, one := range all {
			check(fmt.Sprintf("list[%d]", i), one, got.List[i].Kind)
		}
	})
}

// BenchmarkUnmarshal compares with encoding/json: what is more is the price of exact names.
func BenchmarkUnmarshal(b *testing.B) {
	small := []byte(`{"user_id":"@alice:example.org","device_id":"JLAFKJWSCS","typing":true}`)
	large := []byte(`{"user_id":"@alice:example.org","stream_id":5,"devices":[` +
		strings.TrimSuffix(strings.Repeat(`{"device_id":"JLAFKJWSCS","device_display_name":"Alice's phone","keys":{"algorithms":["m.olm.v1.curve25519-aes-sha2","m.megolm.v1.aes-sha2"],"keys":{"curve25519:JLAFKJWSCS":"3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI"}}},`, 50), ",") + `]}`)
	type edu struct {
		UserID   string `json:"user_id"`
		DeviceID string `json:"device_id"`
		Typing   bool   `json:"typing"`
	}
	type devices struct {
		UserID   string `json:"user_id"`
		StreamID int64  `json:"stream_id"`
		Devices  []struct {
			DeviceID    string          `json:"device_id"`
			DisplayName string          `json:"device_display_name"`
			Keys        json.RawMessage `json:"keys"`
		} `json:"devices"`
	}
	for name, unmarshal := range map[string]func([]byte, any) error{"exact": Unmarshal, "plain": json.Unmarshal} {
		b.Run("small/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var into edu
				if err := unmarshal(small, &into); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("large/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var into devices
				if err := unmarshal(large, &into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package canonicaljson

import (
	"fmt"
	"testing"
)

func TestMembers(t *testing.T) {
	for _, c := range []struct{ object, want string }{
		{`{}`, ""},
		{`{"a":1}`, "a=1;"},
		{`{"":"","a":{"b":[1,{"c":"}"}]},"c":[],"d":"x\\","e":"\"","f":null}`, `="";a={"b":[1,{"c":"}"}]};c=[];d="x\\";e="\"";f=null;`},
		{`{"a\"b":1}`, `a\"b=1;`},
		// Not objects, and not canonical: what can be read.
		{``, ""}, {`[]`, ""}, {`{`, ""}, {`"a"`, ""}, {`{"a"}`, ""}, {`{"a":}`, ""}, {`{"a":1,`, "a=1;"}, {`{"a`, ""}, {`{"a":1,b`, "a=1;"},
	} {
		got := ""
		for key, value := range Members([]byte(c.object)) {
			got += fmt.Sprintf("%s=%s;", key, value)
		}
		if got != c.want {
			t.Errorf("%s: got %s", c.object, got)
		}
	}
	for range Members([]byte(`{"a":1,"b":2}`)) {
		break
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct{ array, want string }{
		{`[]`, ""}, {`[1]`, "1;"}, {`["a",[1,2],{"b":"]"},null]`, `"a";[1,2];{"b":"]"};null;`},
		{``, ""}, {`{}`, ""}, {`[`, ""}, {`[,]`, ""}, {`[1`, "1;"},
	} {
		got := ""
		for value := range Elements([]byte(c.array)) {
			got += string(value) + ";"
		}
		if got != c.want {
			t.Errorf("%s: got %s", c.array, got)
		}
	}
}

func TestGet(t *testing.T) {
	object := []byte(`{"\n":1,"\"":2,"\\":3,"a":{"b":4},"ab":5}`)
	for key, want := range map[string]string{"\n": "1", `"`: "2", `\`: "3", "a": `{"b":4}`, "ab": "5", "b": "", `\n`: "", "": ""} {
		got, ok := Get(object, key)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q: got %s, %v", key, got, ok)
		}
	}
}

func TestString(t *testing.T) {
	for value, want := range map[string]string{`""`: "", `"a"`: "a", `"\n\"\\\u0001"`: "\n\"\\\x01", `"日"`: "日"} {
		if got, ok := String([]byte(value)); got != want || !ok {
			t.Errorf("%s: got %q, %v", value, got, ok)
		}
	}
	for _, value := range []string{"", `"`, "1", "null", "{}", "[]", "true"} {
		if got, ok := String([]byte(value)); ok {
			t.Errorf("%s: got %q", value, got)
		}
	}
}

func TestInt(t *testing.T) {
	for value, want := range map[string]int64{
		"0": 0, "1": 1, "-1": -1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
	} {
		if got, ok := Int([]byte(value)); got != want || !ok {
			t.Errorf("%s: got %d, %v", value, got, ok)
		}
	}
	for _, value := range []string{
		"", "-", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "18446744073709551616",
		"1.0", "1e3", `"1"`, "null", "{}", "--1", "+1",
	} {
		if got, ok := Int([]byte(value)); ok {
			t.Errorf("%s: got %d", value, got)
		}
	}
}

func TestSetMember(t *testing.T) {
	for _, c := range []struct{ object, key, want string }{
		{`{}`, "b", `{"b":0}`},
		{`{"a":1}`, "b", `{"a":1,"b":0}`},
		{`{"c":1}`, "b", `{"b":0,"c":1}`},
		{`{"a":1,"b":2,"c":3}`, "b", `{"a":1,"b":0,"c":3}`},
		{`{"a":{}}`, "b", `{"a":{},"b":0}`},
		{`{"!":1,"#":1}`, `"`, `{"!":1,"\"":0,"#":1}`},
	} {
		if got := SetMember(nil, []byte(c.object), c.key, []byte("0")); string(got) != c.want {
			t.Errorf("%s, %s: got %s", c.object, c.key, got)
		}
	}
}

func TestInsertMember(t *testing.T) {
	for _, c := range []struct{ object, key, want string }{
		{`{}`, "b", `{"b":0}`},
		{`{"a":1}`, "b", `{"a":1,"b":0}`},
		{`{"c":1}`, "b", `{"b":0,"c":1}`},
		{`{"a":1,"c":{"d":","}}`, "b", `{"a":1,"b":0,"c":{"d":","}}`},
		{`{"!":1,"#":1}`, `"`, `{"!":1,"\"":0,"#":1}`},
	} {
		for _, room := range []int{0, 1, 100} {
			object := append(make([]byte, 0, len(c.object)+room), c.object...)
			if got := InsertMember(object, c.key, []byte("0")); string(got) != c.want {
				t.Errorf("%s, %s: got %s", c.object, c.key, got)
			}
		}
	}
}

func TestAppendString(t *testing.T) {
	for text, want := range map[string]string{"": `""`, "a\x00\"\\/\n": `"a\u0000\"\\/\n"`, "\xff日\x7f": "\"\uFFFD日\x7f\""} {
		if got := AppendString(nil, text); string(got) != want {
			t.Errorf("%q: got %s", text, got)
		}
	}
}

func TestFilterInPlace(t *testing.T) {
	for drop, want := range map[string]string{
		"a": `{"b":{"c":1},"d":[2],"e":"x"}`, "b": `{"a":"","d":[2],"e":"x"}`, "d": `{"a":"","b":{"c":1},"e":"x"}`,
		"e": `{"a":"","b":{"c":1},"d":[2]}`, "x": `{"a":"","b":{"c":1},"d":[2],"e":"x"}`,
	} {
		object := []byte(`{"a":"","b":{"c":1},"d":[2],"e":"x"}`)
		got := Filter(object[:0], object, func(key []byte) bool { return string(key) != drop })
		if string(got) != want {
			t.Errorf("without %s: got %s", drop, got)
		}
	}
}

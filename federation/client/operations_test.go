package client_test

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/spec"
	"hanse/federation/id"
)

// elsewhere are the operations that this package doesn't ask for, and why.
var elsewhere = map[string]string{
	"GET /.well-known/matrix/server":               "the resolver asks",
	"GET /_matrix/federation/v1/query/{queryType}": "directory and profile are the ones there are",
	"GET /_matrix/key/v2/query/{serverName}":       "POST asks for many at a time",
	"PUT /_matrix/federation/v1/3pid/onbind":       "identity servers tell of it",
}

var raw = reflect.TypeFor[json.RawMessage]()

// fill gives a value of a type that encodes: texts are "1" (a room version too), pointers lead somewhere if deep.
func fill(t reflect.Type, deep bool) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case t == raw:
		v.Set(reflect.ValueOf(json.RawMessage(`{}`)))
	case t.Kind() == reflect.String:
		v.SetString("1")
	case t.Kind() == reflect.Int64 || t.Kind() == reflect.Int:
		v.SetInt(1)
	case t.Kind() == reflect.Pointer && deep:
		v.Set(reflect.New(t.Elem()))
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(fill(t.Field(i).Type, deep))
			}
		}
	}
	return v
}

// fits tells whether a path is one of an operation's.
func fits(path, operation string) bool {
	have, want := strings.Split(path, "/"), strings.Split(operation, "/")
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		if have[i] != want[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

var _ = Describe("the operations of the server-server API", func() {
	It("are all asked for", func() {
		var mu sync.Mutex
		var asked []string
		w := newWorld()
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked = append(asked, r.Method+" "+r.URL.Path)
			mu.Unlock()
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"errcode":"M_UNRECOGNIZED","error":"no"}`))
		}))
		c := reflect.ValueOf(w.client())
		for i := range c.NumMethod() {
			method := c.Method(i)
			if method.Type().NumIn() < 2 || method.Type().In(1) != reflect.TypeFor[id.ServerName]() {
				continue
			}
			for _, deep := range []bool{false, true} {
				args := []reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(peer)}
				for j := 2; j < method.Type().NumIn(); j++ {
					args = append(args, fill(method.Type().In(j), deep))
				}
				method.Call(args) // refused, but asked
			}
		}
		operations := 0
		for _, o := range spec.Operations() {
			if !strings.HasPrefix(o.Anchor, "server-server-api#") {
				continue
			}
			operations++
			found := false
			for _, a := range asked {
				name, path, _ := strings.Cut(a, " ")
				found = found || name == o.Method && fits(path, o.Path)
			}
			if why, known := elsewhere[o.Method+" "+o.Path]; !found && !known {
				Fail(o.Method + " " + o.Path + " is not asked for")
			} else if known && found && !strings.Contains(o.Path, "{queryType}") {
				Fail(o.Method + " " + o.Path + " is asked for, although " + why)
			}
		}
		Expect(operations).To(Equal(36))
	})
})

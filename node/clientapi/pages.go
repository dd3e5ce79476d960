package clientapi

import (
	"cmp"
	"embed"
	"fmt"
	"html"
	"io/fs"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"text/template/parse"
)

//go:embed pages
var pageFiles embed.FS

// templates are the pages, by name. They are read when the first is asked for: most servers show none.
//
// They are written in the language of html/template, of which they use what markup knows. html/template itself calls methods by their names,
// so that the linker can leave none away: with it the binary has 3.5 MB more.
var templates = sync.OnceValue(func() map[string]*parse.Tree {
	all := map[string]*parse.Tree{}
	files, err := fs.Glob(pageFiles, "pages/*.html")
	for _, name := range files {
		text, readErr := pageFiles.ReadFile(name)
		trees, parseErr := parse.Parse(name, string(text), "{{", "}}", map[string]any{"or": true})
		err = cmp.Or(err, readErr, parseErr)
		for name, tree := range trees {
			all[name] = tree
		}
	}
	if err != nil {
		panic(err) // the first test finds it
	}
	return all
})

// rendered is what a template has become. All else is text, and is written as such.
type rendered string

// address is where a client waits for a user, in an app perhaps. It was checked when the client registered it.
type address string

// render makes a page, or a part of one, of data, a struct. Values may stand between tags and in attributes in double quotes alone. One that
// is a whole href must be an address of the web or of this server, or an address: others lead nowhere.
func render(template string, data any) (rendered, error) {
	m := markup{root: reflect.ValueOf(data)}
	if err := m.template(template, m.root); err != nil {
		return "", fmt.Errorf("clientapi: the page %s: %w", template, err)
	}
	return rendered(m.out.String()), nil
}

// markup is a page that is being made.
type markup struct {
	out  strings.Builder
	root reflect.Value // $: what the template was given
}

func (m *markup) template(name string, data reflect.Value) error {
	tree := templates()[name]
	if tree == nil {
		return fmt.Errorf("there is no template %q", name)
	}
	before := m.root
	m.root = data
	err := m.list(tree.Root, data)
	m.root = before
	return err
}

func (m *markup) list(list *parse.ListNode, dot reflect.Value) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := m.node(node, dot); err != nil {
			return err
		}
	}
	return nil
}

func (m *markup) node(node parse.Node, dot reflect.Value) error {
	switch n := node.(type) {
	case *parse.TextNode:
		_, _ = m.out.Write(n.Text) // never fails
		return nil
	case *parse.ActionNode:
		value, err := m.pipe(n.Pipe, dot)
		if err == nil {
			m.value(value)
		}
		return err
	case *parse.IfNode:
		return m.branch(&n.BranchNode, dot, func(reflect.Value) error { return m.list(n.List, dot) })
	case *parse.WithNode:
		return m.branch(&n.BranchNode, dot, func(value reflect.Value) error { return m.list(n.List, value) })
	case *parse.RangeNode:
		return m.branch(&n.BranchNode, dot, func(values reflect.Value) error {
			for i := range values.Len() {
				if err := m.list(n.List, values.Index(i)); err != nil {
					return err
				}
			}
			return nil
		})
	case *parse.TemplateNode:
		value, err := m.pipe(n.Pipe, dot)
		if err != nil {
			return err
		}
		return m.template(n.Name, value)
	}
	return fmt.Errorf("it has %s, which is not known here", node)
}

// branch goes on with a value if there is one, else with what follows else.
func (m *markup) branch(n *parse.BranchNode, dot reflect.Value, there func(reflect.Value) error) error {
	value, err := m.pipe(n.Pipe, dot)
	switch {
	case err != nil:
		return err
	case isEmpty(value):
		return m.list(n.ElseList, dot)
	}
	return there(value)
}

// pipe finds a value: of a field, or the first that isn't empty of several.
func (m *markup) pipe(pipe *parse.PipeNode, dot reflect.Value) (reflect.Value, error) {
	if pipe == nil || len(pipe.Cmds) != 1 || len(pipe.Decl) > 0 {
		return reflect.Value{}, fmt.Errorf("it has %s, which is not known here", pipe)
	}
	args := pipe.Cmds[0].Args
	if word, ok := args[0].(*parse.IdentifierNode); ok && word.Ident == "or" {
		args = args[1:]
	} else if len(args) > 1 {
		return reflect.Value{}, fmt.Errorf("it has %s, which is not known here", pipe)
	}
	var value reflect.Value
	for _, arg := range args {
		var names []string
		switch n := arg.(type) {
		case *parse.DotNode:
			value = dot
		case *parse.FieldNode:
			value, names = dot, n.Ident
		case *parse.VariableNode: // there is $ alone
			value, names = m.root, n.Ident[1:]
		default:
			return value, fmt.Errorf("it has %s, which is not known here", arg)
		}
		for _, name := range names {
			if value = reflect.Indirect(value); value.Kind() != reflect.Struct {
				break // of nothing
			}
			field := value.FieldByName(name)
			if !field.IsValid() {
				return value, fmt.Errorf("%s has no %s", value.Type(), name)
			}
			value = field
		}
		if !isEmpty(value) {
			break
		}
	}
	return value, nil
}

var webLink = regexp.MustCompile("^(https?://|/)")

func isEmpty(value reflect.Value) bool {
	return !value.IsValid() || value.IsZero() || value.Kind() == reflect.Slice && value.Len() == 0
}

func (m *markup) value(value reflect.Value) {
	if value = reflect.Indirect(value); !value.IsValid() {
		return
	}
	text := fmt.Sprint(value)
	if strings.HasSuffix(m.out.String(), `href="`) && value.Type() != reflect.TypeFor[address]() && !webLink.MatchString(text) {
		text = "#"
	}
	if value.Type() != reflect.TypeFor[rendered]() {
		text = html.EscapeString(text)
	}
	_, _ = m.out.WriteString(text) // never fails
}

package clientapi

import (
	"regexp"
	"strings"
	"testing"
	"text/template/parse"
)

func TestPagesShowValuesAsText(t *testing.T) {
	for _, to := range []string{"javascript:alert(1)", " javascript:x", "JAVASCRIPT:x", "data:text/html,x", "vbscript:x", "x"} {
		out, err := render("login", page{Other: to, Typed: `"><script>`})
		if err != nil || strings.Contains(string(out), to+`"`) || strings.Contains(string(out), "<script") {
			t.Errorf("%s: %v\n%s", to, err, out)
		}
	}
	out, err := render("login", page{Other: "/_matrix/oauth/authorize?a=b&c=d", Typed: "alice"})
	if err != nil || !strings.Contains(string(out), `href="/_matrix/oauth/authorize?a=b&amp;c=d"`) || !strings.Contains(string(out), `value="alice"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = render("page", page{Title: "A & B", Body: "<p>made</p>"})
	if err != nil || !strings.Contains(string(out), "<h1>A &amp; B</h1>") || !strings.Contains(string(out), "<p>made</p>") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := render("nothing", page{}); err == nil {
		t.Error("there is a page that there isn't")
	}
}

// What a page's values are written as holds between tags and in double quotes; this looks whether they stand elsewhere.
func TestPagesHaveValuesWhereTheyMayBe(t *testing.T) {
	for name, tree := range templates() {
		var text strings.Builder
		var walk func(*parse.ListNode)
		walk = func(list *parse.ListNode) {
			if list == nil {
				return
			}
			for _, node := range list.Nodes {
				switch n := node.(type) {
				case *parse.TextNode:
					_, _ = text.Write(n.Text)
				case *parse.ActionNode:
					so := text.String()
					if tag := so[strings.LastIndexAny(so, "<>")+1:]; strings.LastIndex(so, "<") > strings.LastIndex(so, ">") && strings.Count(tag, `"`)%2 == 0 {
						t.Errorf("%s: %s stands in a tag without quotation marks: <%s", name, n, tag)
					}
				case *parse.IfNode:
					walk(n.List)
					walk(n.ElseList)
				case *parse.WithNode:
					walk(n.List)
					walk(n.ElseList)
				case *parse.RangeNode:
					walk(n.List)
					walk(n.ElseList)
				}
			}
		}
		walk(tree.Root)
		if strings.Contains(text.String(), "<script") || strings.Contains(text.String(), "style=") || strings.Contains(text.String(), "onclick") {
			t.Errorf("%s: the pages' policy lets no such thing in", name)
		}
	}
}

// Programs that keep passwords look for the name in a form beside it, and not in a hidden one's value.
func TestPagesSayWhosePasswordIsAskedFor(t *testing.T) {
	named := regexp.MustCompile(`<input ([^>]*)autocomplete="username"`)
	for _, name := range []string{"login", "create", "renew", "add", "password", "deactivate", "reset"} {
		out, err := render(name, page{User: "@alice:hanse.test", Typed: "alice@hanse.test"})
		if err != nil || !strings.Contains(string(out), `type="password"`) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		for _, form := range strings.Split(string(out), "</form>") {
			if !strings.Contains(form, `type="password"`) {
				continue
			}
			if field := named.FindStringSubmatch(form); field == nil || strings.Contains(field[1], `type="hidden"`) {
				t.Errorf("%s: it isn't said whose password this is:\n%s", name, form)
			}
		}
	}
}

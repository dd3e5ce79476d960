package interop

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"golang.org/x/net/html"
)

// browser is what a person sees a homeserver's pages by: with cookies, without scripts.
type browser struct {
	client *http.Client
	at     *url.URL
	page   *html.Node
}

func newBrowser() *browser {
	GinkgoHelper()
	jar, err := cookiejar.New(nil)
	Expect(err).NotTo(HaveOccurred())
	b := &browser{client: &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(to *http.Request, before []*http.Request) error {
		if to.URL.Host != before[0].URL.Host {
			return http.ErrUseLastResponse // to a client, which no server is asked for
		}
		return nil
	}}}
	DeferCleanup(b.client.CloseIdleConnections)
	return b
}

// open goes to an address.
func (b *browser) open(ctx context.Context, address string) {
	GinkgoHelper()
	b.ask(ctx, http.MethodGet, address, nil)
}

// ask makes a request and takes what comes of it: a page, or the address of a client that the browser is sent to.
func (b *browser) ask(ctx context.Context, method, address string, form url.Values) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	Expect(err).NotTo(HaveOccurred())
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	response, err := b.client.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	b.page, err = html.Parse(response.Body)
	Expect(err).NotTo(HaveOccurred())
	b.at = response.Request.URL
	if response.StatusCode == http.StatusSeeOther {
		b.at, err = response.Location()
		Expect(err).NotTo(HaveOccurred())
		return
	}
	Expect(response.StatusCode).To(Equal(http.StatusOK), "%s: %s", b.at, b.text())
}

// text is what the page says.
func (b *browser) text() string { return text(b.page) }

func text(n *html.Node) string {
	var all strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			all.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(all.String()), " ")
}

// press types into the fields of the form that has a button, by their names, and presses the button, by what is on it.
func (b *browser) press(ctx context.Context, button string, fields map[string]string) {
	GinkgoHelper()
	for form := range b.page.Descendants() {
		if form.Data != "form" {
			continue
		}
		sent, pressed := url.Values{}, false
		for d := range form.Descendants() {
			name := attribute(d, "name")
			switch {
			case d.Data == "button" && text(d) == button:
				pressed = true
			case d.Data == "input" && attribute(d, "type") == "hidden", d.Data == "input" && fields[name] != "":
			default:
				continue
			}
			if typed := fields[name]; typed != "" {
				sent.Set(name, typed)
			} else if name != "" {
				sent.Set(name, attribute(d, "value"))
			}
		}
		if pressed {
			for name := range fields {
				Expect(sent).To(HaveKey(name), b.text())
			}
			b.ask(ctx, http.MethodPost, b.at.String(), sent)
			return
		}
	}
	Fail("no button " + button + " on " + b.at.String() + ": " + b.text())
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

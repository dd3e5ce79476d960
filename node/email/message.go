package email

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
)

// Mail is a mail to one person, which says the same in two forms.
type Mail struct {
	To      string // a canonical address; in text: as SMTP has it
	Subject string
	Text    string // lines end with \n
	HTML    string
}

// text is the mail as it is sent. Nothing in it can become a header, or a line of SMTP, that isn't one.
func (m Mail) text(from *mail.Address, now time.Time) ([]byte, error) {
	var text bytes.Buffer
	body := multipart.NewWriter(&text)
	_, domain, _ := strings.Cut(from.Address, "@")
	for _, header := range [...][2]string{
		{"Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", from.String()},
		{"To", (&mail.Address{Address: m.To}).String()},
		{"Message-ID", "<" + rand.Text() + "@" + domain + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
		{"Auto-Submitted", "auto-generated"}, // so that no absence note comes back
		{"MIME-Version", "1.0"},
		{"Content-Type", "multipart/alternative; boundary=" + body.Boundary()},
	} {
		fmt.Fprintf(&text, "%s: %s\r\n", header[0], header[1])
	}
	text.WriteString("\r\n")
	for _, part := range [...]struct{ kind, content string }{{"text/plain", m.Text}, {"text/html", m.HTML}} {
		w, err := body.CreatePart(textproto.MIMEHeader{
			"Content-Type": {part.kind + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
		})
		if err != nil {
			return nil, err
		}
		quoted := quotedprintable.NewWriter(w)
		if _, err := quoted.Write([]byte(part.content)); err != nil {
			return nil, err
		}
		if err := quoted.Close(); err != nil {
			return nil, err
		}
	}
	err := body.Close()
	return text.Bytes(), err
}

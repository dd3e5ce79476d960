package email

import (
	"html"
	"strings"
)

// Site is what mails say of the server.
type Site struct {
	Name   string // what people call it
	Server string // its server name
}

// Request is what a mail answers to.
type Request struct {
	To   string // a canonical address
	From string // the network address of who asked
	Link string // confirms that the mail was read
	User string // whose the address is; "": nobody's
}

// Registration has somebody confirm the address of an account that they make.
func (s Site) Registration(r Request) Mail {
	return s.letter(r, letter{
		subject: "Confirm your e-mail address",
		before:  []string{"Somebody, probably you, is making an account on " + s.both() + " with this e-mail address. To go on, confirm that it is yours:"},
		button:  "Confirm the address",
		after:   []string{"The link is good for an hour. " + asked(r) + " If that wasn't you, there is nothing to do: without the confirmation no account gets your address."},
	})
}

// Addition has somebody confirm an address for the account that they have.
func (s Site) Addition(r Request) Mail {
	return s.letter(r, letter{
		subject: "Confirm your e-mail address",
		before:  []string{"Somebody, probably you, wants this e-mail address to belong to their account on " + s.both() + ". To go on, confirm that it is yours:"},
		button:  "Confirm the address",
		after:   []string{"The link is good for an hour. " + asked(r) + " If that wasn't you, there is nothing to do: without the confirmation no account gets your address."},
	})
}

// Reset has the holder of an account confirm that they asked for a new password.
func (s Site) Reset(r Request) Mail {
	return s.letter(r, letter{
		subject: "A new password for " + r.User,
		before: []string{"Somebody, probably you, has asked for a new password for your account " + r.User + " on " + s.both() + ". To go on, confirm it, " +
			"then choose the password where you asked for it:"},
		button: "Confirm that I asked for it",
		after: []string{"The link is good for an hour. " + asked(r) + " If that wasn't you, don't follow the link: whoever asked could then choose your password. " +
			"Without the confirmation your password stays as it is."},
	})
}

// Taken says that the address is an account's already: to who reads it, and to nobody else.
func (s Site) Taken(r Request) Mail {
	return s.letter(r, letter{
		subject: "You have an account already",
		before: []string{"Somebody, probably you, has given this e-mail address for an account on " + s.both() + ". But it belongs to your account there already: " + r.User + ".",
			"If you have forgotten its password, choose “Forgot password” where you log in.",
			asked(r) + " If that wasn't you, there is nothing to do."},
	})
}

// Unknown says that no account has the address.
func (s Site) Unknown(r Request) Mail {
	return s.letter(r, letter{
		subject: "No account has this e-mail address",
		before: []string{"Somebody, probably you, has asked for a new password on " + s.both() + " with this e-mail address. But no account there has it.",
			"If you have an account there, try another of your addresses, or ask who runs the server.",
			asked(r) + " If that wasn't you, there is nothing to do."},
	})
}

// Trial is for an operator who wants to see whether mails come.
func (s Site) Trial(to string) Mail {
	return s.letter(Request{To: to}, letter{
		subject: "A mail to try it",
		before:  []string{"This is what mails of " + s.both() + " look like. It is here: they come."},
	})
}

func (s Site) both() string {
	if s.Name == s.Server {
		return s.Server
	}
	return s.Name + " (" + s.Server + ")"
}

func asked(r Request) string { return "It was asked for from " + r.From + "." }

// letter is what a mail says, around its link if it has one.
type letter struct {
	subject string
	before  []string
	button  string // "": there is no link
	after   []string
}

func (s Site) letter(r Request, l letter) Mail {
	var text, page strings.Builder
	paragraph := func(p string) {
		text.WriteString(p + "\n\n")
		page.WriteString("<p>" + html.EscapeString(p) + "</p>\n")
	}
	page.WriteString("<!DOCTYPE html>\n<html lang=\"en\"><body style=\"font-family: sans-serif; max-width: 40em\">\n")
	for _, p := range l.before {
		paragraph(p)
	}
	if l.button != "" {
		text.WriteString(r.Link + "\n\n")
		page.WriteString(`<p><a href="` + html.EscapeString(r.Link) + `">` + html.EscapeString(l.button) + "</a></p>\n")
	}
	for _, p := range l.after {
		paragraph(p)
	}
	page.WriteString("</body></html>\n")
	return Mail{To: r.To, Subject: "[" + s.Name + "] " + l.subject, Text: strings.TrimSuffix(text.String(), "\n"), HTML: page.String()}
}

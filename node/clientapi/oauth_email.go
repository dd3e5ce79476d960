package clientapi

import (
	"errors"
	"net/http"
	"time"

	"hanse/node/users"
)

// byEmail has somebody show, on pages, that they read what is sent to an address: on one they type it, on the next they wait until they have followed
// the link in the mail. sid is "" until then; shown is what they see. The forms that follow must have the sid. It is good in this browser alone.
func (a *API) byEmail(v *visit, purpose users.EmailPurpose, shown page) (sid string, p page, err error) {
	p = shown
	p.template, p.Typed = "address", v.sent.Get("email")
	secret := v.browser.derived("email")
	if p.SID = v.sent.Get("sid"); p.SID != "" {
		proven, err := a.config.Users.EmailProven(v.Context(), p.SID, secret, purpose)
		if err != nil || proven {
			return p.SID, p, err
		}
		p.status, p.Error = http.StatusForbidden, "The address is not confirmed yet, or that was too long ago."
	} else {
		if v.pressed("mail") == "" {
			return "", p, nil
		}
		address, err := users.CanonicalEmail(p.Typed)
		if err == nil {
			p.SID, err = a.mail(v.request, users.EmailRequest{Purpose: purpose, Address: address, ClientSecret: secret, Attempt: time.Now().Unix()})
		}
		if p.Error = sentence(&err); p.Error != "" || err != nil {
			p.status = http.StatusBadRequest
			return "", p, err
		}
	}
	p.template, p.Other = "mailed", v.address(v.URL.Query())
	return "", p, nil
}

// forgottenPage gives a new password to somebody who reads the mail of an account, and logs them in.
func (a *API) forgottenPage(v *visit, client *shownClient) (any, error) {
	sid, p, err := a.byEmail(v, users.EmailResets, page{
		Title: "A new password", Client: client, Detail: "Type the e-mail address of your account. You get a mail there, by which you can choose a new password.", Other: v.here(),
	})
	if err != nil || sid == "" {
		return p, err
	}
	p = page{template: "renew", Title: "A new password", Client: client, SID: sid, Typed: v.sent.Get("email")}
	if v.pressed("renew") == "" {
		return p, nil
	}
	if v.sent.Get("new") != v.sent.Get("again") {
		p.status, p.Error = http.StatusBadRequest, "The two new passwords differ."
		return p, nil
	}
	user, err := a.resetBySession(v.Context(), sid, v.sent.Get("new"), v.sent.Get("others") == "yes")
	if errors.Is(err, users.ErrLocked) {
		p.status, p.Error = http.StatusForbidden, lockedAccount
		return p, nil
	}
	if p.Error = sentence(&err); p.Error != "" {
		p.status = http.StatusBadRequest
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	return a.loggedIn(v, user, p)
}

// emailsPage lists the user's addresses, takes some away, and adds others, which needs the password.
func (a *API) emailsPage(v *visit) (any, error) {
	if v.pressed("remove") != "" {
		if err := a.config.Users.RemoveEmail(v.Context(), v.user, v.sent.Get("email")); err != nil && !isNotFound(err) {
			return nil, err
		}
		return a.emailList(v, "The address is removed.")
	}
	if v.pressed("mail") == "" && v.sent.Get("sid") == "" {
		return a.emailList(v, "")
	}
	sid, p, err := a.byEmail(v, users.EmailAdds, page{Title: "Your e-mail addresses", Account: true})
	if err != nil || sid == "" {
		return p, err
	}
	p.template = "add"
	if v.pressed("add") == "" {
		return p, nil
	}
	if good, err := a.confirmed(v, &p); err != nil || !good {
		return p, err
	}
	err = a.config.Users.AddProvenEmail(v.Context(), v.user, sid)
	if p.Error = sentence(&err); p.Error != "" {
		p.status = http.StatusBadRequest
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	return a.emailList(v, "The address is yours now.")
}

func (a *API) emailList(v *visit, notice string) (any, error) {
	all, err := a.config.Users.Emails(v.Context(), v.user)
	p := page{template: "emails", Title: "Your e-mail addresses", Notice: notice, Account: true, Detail: "You can log in with it, and get a new password by it."}
	for _, e := range all {
		p.Emails = append(p.Emails, shownEmail{Address: e.Address, Token: v.browser.formToken()})
	}
	return p, err
}

// shownEmail is an address beside a button that removes it.
type shownEmail struct{ Address, Token string }

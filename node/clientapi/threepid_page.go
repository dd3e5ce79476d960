package clientapi

import (
	"net/http"

	"hanse/node/users"
)

// emailPath is what the links in mails lead to: a page with a button. Following the link alone confirms nothing, as programs that look
// for bad mails follow links, too. It is below /_matrix/, which proxies let through.
const emailPath = "/_matrix/email/confirm"

// emailPage is the page, and what its button leads to. The link is the secret by which it is known whose wish it is: no cookie has a part in it.
func (a *API) emailPage(r *request) (any, error) {
	query := r.URL.Query()
	find := a.config.Users.EmailByLink
	if r.Method == http.MethodPost {
		find = a.config.Users.ProveEmail
	}
	link, good, err := find(r.Context(), query.Get("sid"), query.Get("token"))
	v := &visit{request: r}
	switch {
	case err != nil:
		return nil, err
	case !good:
		return a.writePage(v, page{
			status: http.StatusNotFound, template: "message", Title: "This link is no good any more",
			Detail: "It is good for an hour, and until what it was for is done. Go back to where you asked for the mail, and ask for another.",
		})
	case link.Proven || r.Method == http.MethodPost:
		return a.writePage(v, page{
			template: "confirmed", Title: "Your e-mail address is confirmed", Detail: "Go back to where you asked for the mail, and go on there.", Other: link.NextLink,
		})
	}
	shown := page{template: "confirm", Title: "Confirm your e-mail address", Typed: link.Address}
	switch link.Purpose {
	case users.EmailRegisters:
		shown.Detail = "You are making an account with this e-mail address:"
	case users.EmailAdds:
		shown.Detail = "You want this e-mail address to belong to your account:"
	case users.EmailResets:
		user, _, err := a.config.Users.EmailUser(r.Context(), link.Address)
		if err != nil {
			return nil, err
		}
		shown.Title, shown.Detail, shown.Typed = "A new password", "You have asked for a new password for this account:", string(user)
		shown.Warning = "If you have not asked for it yourself just now, close this page: whoever asked can choose your password once you confirm."
	}
	return a.writePage(v, shown)
}

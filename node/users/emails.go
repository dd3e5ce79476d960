package users

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/email"
	"hanse/node/store"
)

// EmailPurpose is what somebody shows for that they read what is sent to an address. What was shown for one is good for no other: who
// confirmed that they register doesn't give away their account's password.
type EmailPurpose string

// The purposes.
const (
	EmailRegisters EmailPurpose = "register"
	EmailAdds      EmailPurpose = "add"
	EmailResets    EmailPurpose = "password"
)

// EmailRequest is a client's wish that a mail is sent to an address.
type EmailRequest struct {
	Purpose      EmailPurpose
	Address      string // as the client gives it
	ClientSecret string
	Attempt      int64 // a mail is sent once for each
	NextLink     string
}

// EmailChallenge is what comes of it.
type EmailChallenge struct {
	SID     string
	Address string    // the canonical form, to which alone mails go
	User    id.UserID // whose the address is; "": nobody's
	Send    bool      // a mail is to be sent
	Token   string    // what it has, if the address suits the purpose: then it proves that the mail was read
	Suits   bool      // a new address for whom registers or adds one, an account's for whom resets
}

// CanonicalEmail is the form by which an address is told from others; M_INVALID_PARAM if it is none.
func CanonicalEmail(address string) (string, error) {
	canonical, err := email.Canonical(address)
	if err != nil {
		return "", federation.NewError(http.StatusBadRequest, "M_INVALID_PARAM", err.Error())
	}
	return canonical, nil
}

// BeginEmail keeps, for an hour, that a mail is wanted, and says which. Whether the address is an account's is for the mail to say, to whoever
// reads it, and for no answer. M_INVALID_PARAM, or M_LIMIT_EXCEEDED if there are as many as there may be.
func (u *Users) BeginEmail(ctx context.Context, r EmailRequest) (EmailChallenge, error) {
	address, err := CanonicalEmail(r.Address)
	if err != nil {
		return EmailChallenge{}, err
	}
	if r.ClientSecret == "" || len(r.ClientSecret) > maxClientSecretBytes || strings.ContainsFunc(r.ClientSecret, notOpaque) {
		return EmailChallenge{}, federation.NewError(http.StatusBadRequest, "M_INVALID_PARAM", "client_secret must be 1 to 255 of the characters 0-9 a-z A-Z . = _ -")
	}
	holder, held, err := u.store.EmailUser(ctx, address)
	if err != nil {
		return EmailChallenge{}, err
	}
	now := time.Now()
	switch kept, err := u.store.EmailSessions(ctx, now); {
	case err != nil:
		return EmailChallenge{}, err
	case kept >= maxEmailSessions: // those who come at once may be a few more
		u.log.Warn("no mail was sent to confirm an address: as many as may be wait to be confirmed", "waiting", kept)
		return EmailChallenge{}, federation.LimitExceeded(time.Minute)
	}
	session, send, err := u.store.BeginEmailSession(ctx, store.EmailSession{
		SID: rand.Text(), ClientSecret: r.ClientSecret, Purpose: string(r.Purpose), Address: address, Token: rand.Text(), Attempt: r.Attempt, NextLink: r.NextLink,
		Expires: now.Add(emailSessionLife),
	}, now)
	return EmailChallenge{
		SID: session.SID, Address: address, User: holder, Send: send, Token: session.Token, Suits: held == (r.Purpose == EmailResets),
	}, err
}

// notOpaque tells what stands in no client secret.
//
// spec:appendices#opaque-identifiers
func notOpaque(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(".=_-", r)
}

// EmailNotSent lets the mail of a challenge be asked for again, under the same attempt.
func (u *Users) EmailNotSent(ctx context.Context, sid string) error {
	return u.store.EmailNotSent(ctx, sid)
}

// EmailLink is what a mail's link leads to.
type EmailLink struct {
	Purpose  EmailPurpose
	Address  string
	NextLink string
	Proven   bool
}

// emailSession finds a session by what a client takes for its sid: what can't be one is not looked for, as databases don't take all texts.
func (u *Users) emailSession(ctx context.Context, sid string) (store.EmailSession, bool, error) {
	if strings.ContainsFunc(sid, notOpaque) {
		return store.EmailSession{}, false, nil
	}
	return u.store.EmailSession(ctx, sid, time.Now())
}

// EmailByLink finds what a mail's link belongs to; false if it is not good (any more).
func (u *Users) EmailByLink(ctx context.Context, sid, token string) (EmailLink, bool, error) {
	session, found, err := u.emailSession(ctx, sid)
	if err != nil || !found || subtle.ConstantTimeCompare([]byte(session.Token), []byte(token)) != 1 {
		return EmailLink{}, false, err
	}
	return EmailLink{EmailPurpose(session.Purpose), session.Address, session.NextLink, !session.Proven.IsZero()}, true, nil
}

// ProveEmail is EmailByLink of somebody who confirms it. It is good for what it was asked for, for an hour from the first time on.
func (u *Users) ProveEmail(ctx context.Context, sid, token string) (EmailLink, bool, error) {
	link, good, err := u.EmailByLink(ctx, sid, token)
	if err != nil || !good || link.Proven {
		return link, good, err
	}
	now := time.Now()
	return link, true, u.store.ProveEmail(ctx, sid, now, now.Add(emailSessionLife))
}

// EmailProven tells whether an address was confirmed for a purpose, by who has the client secret.
func (u *Users) EmailProven(ctx context.Context, sid, clientSecret string, purpose EmailPurpose) (bool, error) {
	session, found, err := u.emailSession(ctx, sid)
	return found && !session.Proven.IsZero() && session.Purpose == string(purpose) &&
		subtle.ConstantTimeCompare([]byte(session.ClientSecret), []byte(clientSecret)) == 1, err
}

// Emails are a user's addresses, in the order in which they were added.
func (u *Users) Emails(ctx context.Context, user id.UserID) ([]store.Email, error) {
	return u.store.Emails(ctx, user)
}

// EmailUser tells whose an address is; false if it is nobody's, or no address.
func (u *Users) EmailUser(ctx context.Context, address string) (id.UserID, bool, error) {
	canonical, err := email.Canonical(address)
	if err != nil {
		return "", false, nil
	}
	return u.store.EmailUser(ctx, canonical)
}

// AddEmail gives an address to an account, by the word of an operator. M_INVALID_PARAM, M_THREEPID_IN_USE, M_NOT_FOUND,
// M_FORBIDDEN if the account has as many as it may.
func (u *Users) AddEmail(ctx context.Context, user id.UserID, address string) error {
	canonical, err := CanonicalEmail(address)
	if err == nil {
		err = u.mayHaveMore(ctx, user)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	return emailError(u.store.AddEmail(ctx, store.Email{Address: canonical, User: user, Proven: now, Added: now}))
}

// AddProvenEmail is AddEmail for an address that EmailProven has found good for EmailAdds or EmailRegisters. It is spent.
func (u *Users) AddProvenEmail(ctx context.Context, user id.UserID, sid string) error {
	if err := u.mayHaveMore(ctx, user); err != nil {
		return err
	}
	return emailError(u.store.AddEmailBySession(ctx, user, sid, time.Now()))
}

func (u *Users) mayHaveMore(ctx context.Context, user id.UserID) error {
	if err := u.local(ctx, user); err != nil {
		return err
	}
	all, err := u.store.Emails(ctx, user)
	if err == nil && len(all) >= maxEmails { // those that are added at once may be a few more
		err = federation.Forbidden("an account has 20 e-mail addresses at most")
	}
	return err
}

// RemoveEmail takes an address from an account; M_NOT_FOUND if it isn't the account's.
func (u *Users) RemoveEmail(ctx context.Context, user id.UserID, address string) error {
	canonical, err := CanonicalEmail(address)
	if err != nil {
		return err
	}
	err = u.store.RemoveEmail(ctx, user, canonical)
	if errors.Is(err, store.ErrNotFound) {
		return federation.NotFound("the account doesn't have this e-mail address")
	}
	return err
}

// ResetPassword gives a new password to the account whose address EmailProven has found good for EmailResets, which is spent, and tells
// whose it is. Devices stay logged in; see LogoutAll. M_WEAK_PASSWORD, which spends nothing, as does ErrLocked; M_THREEPID_AUTH_FAILED if the
// address isn't the account's any more, or it is spent.
func (u *Users) ResetPassword(ctx context.Context, sid, password string) (id.UserID, error) {
	hash, err := u.newHash(ctx, password)
	if err != nil {
		return "", err
	}
	user, err := u.store.SetPasswordBySession(ctx, sid, hash, time.Now())
	return user, emailError(err)
}

// emailError is an error of the store as the asker gets it.
func emailError(err error) error {
	switch {
	case errors.Is(err, store.ErrEmailInUse):
		return federation.NewError(http.StatusBadRequest, "M_THREEPID_IN_USE", "this e-mail address is another account's")
	case errors.Is(err, store.ErrNotFound):
		return federation.NewError(http.StatusBadRequest, "M_THREEPID_AUTH_FAILED", "the e-mail address is not confirmed, or that is spent; ask for another mail")
	case errors.Is(err, store.ErrLocked):
		return ErrLocked
	}
	return err
}

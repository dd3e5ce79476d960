package users

import (
	"context"
	"strings"

	"hanse/federation/id"
)

// Found is a user that a search found.
type Found struct {
	UserID      id.UserID `json:"user_id"`
	DisplayName string    `json:"display_name,omitempty"`
	AvatarURL   string    `json:"avatar_url,omitempty"`
}

// Search finds users of this server by a part of their name or display name, without regard to case, exact beginnings
// first. limited says that there are more than limit (which is cut to 50). Only this server's users are found.
//
// todo spec: users of other servers in shared or public rooms
//
// spec:client-server-api#user-directory
func (u *Users) Search(ctx context.Context, asker id.UserID, term string, limit int) (found []Found, limited bool, err error) {
	limit = min(limit, maxSearchResults)
	term = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(term), "@"))
	if term == "" || limit <= 0 {
		return []Found{}, false, nil
	}
	var first, others []Found
	after := id.UserID("")
	for scanned := 0; scanned < maxSearchScan; {
		page, err := u.store.Users(ctx, after, searchPage)
		if err != nil {
			return nil, false, err
		}
		for _, account := range page {
			after = account.ID
			if account.Deactivated || account.Guest || account.ID == asker {
				continue
			}
			profile, err := u.store.Profile(ctx, account.ID)
			if err != nil {
				return nil, false, err
			}
			f := Found{UserID: account.ID, DisplayName: text(profile["displayname"]), AvatarURL: text(profile["avatar_url"])}
			name, shown := string(account.ID)[1:], strings.ToLower(f.DisplayName)
			switch {
			case strings.HasPrefix(name, term), strings.HasPrefix(shown, term):
				first = append(first, f)
			case strings.Contains(name, term), strings.Contains(shown, term):
				others = append(others, f)
			}
		}
		scanned += len(page)
		if len(page) < searchPage || len(first) > limit {
			break
		}
	}
	all := append(first, others...)
	if len(all) > limit {
		return all[:limit], true, nil
	}
	if all == nil {
		all = []Found{}
	}
	return all, false, nil
}

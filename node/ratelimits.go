package node

import (
	"math"

	"hanse/node/clientapi"
)

// limits are the rate limits as the API takes them: what is left out has its default there.
func (c RateLimitConfig) limits() clientapi.RateLimits {
	limit := func(l LimitConfig) clientapi.Limit { return clientapi.Limit{PerSecond: l.PerSecond, Burst: l.Burst} }
	return clientapi.RateLimits{
		Off: c.Disabled, Requests: limit(c.Requests), Events: limit(c.Events), Joins: limit(c.Joins), Logins: limit(c.Logins),
		Registrations: limit(c.Registrations), Mails: limit(c.Mails), AllMails: limit(c.AllMails), Uploads: limit(c.Uploads), Downloads: limit(c.Downloads),
	}
}

// validate says which limits are none.
func (c RateLimitConfig) validate(wrong report) {
	for _, l := range [...]struct {
		name  string
		limit LimitConfig
	}{
		{"requests", c.Requests}, {"events", c.Events}, {"joins", c.Joins}, {"logins", c.Logins}, {"registrations", c.Registrations},
		{"mails", c.Mails}, {"all_mails", c.AllMails}, {"uploads", c.Uploads}, {"downloads", c.Downloads},
	} {
		if l.limit.PerSecond < 0 || math.IsNaN(l.limit.PerSecond) || l.limit.Burst < 0 {
			wrong("rate_limits."+l.name, "a limit is not negative; leave it out for the default")
		}
	}
}

package authrules

import (
	"hanse/federation/id"
)

// powerLevels is rule 10.
func (c *check) powerLevels() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 10
	if c.e.Type() != typePowerLevels {
		return next, nil
	}
	proposed, errs := parsePowerLevels(c.rules, c.e.Content())
	if err := c.wellFormed(errs); err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 10.4
	if c.rules.PrivilegedCreators {
		for _, user := range Creators(c.create) {
			if _, ok := proposed.users.of(user); ok {
				return next, c.reject("power_levels.creator", "%s is a creator of the room and has no level", user)
			}
		}
	}
	// spec:rooms/v12#authorisation-rules 10.5
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	if !levels.power {
		return allow, nil
	}
	change := levelChange{check: c, old: levels.content, new: proposed, own: levels.User(c.e.Sender())}
	for _, rule := range [...]func() error{change.defaults, change.events, change.users} {
		if err := rule(); err != nil {
			return next, err
		}
	}
	// spec:rooms/v12#authorisation-rules 10.11
	return allow, nil
}

// wellFormed is rules 10.1 to 10.3.
func (c *check) wellFormed(errs levelErrors) error {
	switch {
	// spec:rooms/v12#authorisation-rules 10.1
	case errs.named != nil && c.rules.IntegerPowerLevels:
		return c.reject("power_levels.not_integer", "the property %v", errs.named)
	// spec:rooms/v12#authorisation-rules 10.2
	case errs.events != nil && c.rules.IntegerPowerLevels:
		return c.reject("power_levels.events_malformed", "the property %v", errs.events)
	// spec:rooms/v12#authorisation-rules 10.3
	case errs.users != nil:
		return c.reject("power_levels.users_malformed", "the property %v", errs.users)
	// spec:rooms/fragments/v1-stringy-power-levels#mroompower_levels-events-accept-values-as-strings
	case errs.named != nil:
		return c.reject(malformedLevel, "the property %v", errs.named)
	case errs.events != nil:
		return c.reject(malformedLevel, "the property %v", errs.events)
	}
	return nil
}

// levelChange is a power levels event that replaces another.
type levelChange struct {
	*check
	old, new PowerLevels
	own      int64 // the sender's level now
}

// defaults is rule 10.6.
func (c *levelChange) defaults() error {
	for i, name := range names {
		was, is := c.old.named[i], c.new.named[i]
		if was == is {
			continue
		}
		// spec:rooms/v12#authorisation-rules 10.6.1
		if was.set && was.value > c.own {
			return c.reject("power_levels.default_current", "%s is %d, above the sender's level %d", name, was.value, c.own)
		}
		// spec:rooms/v12#authorisation-rules 10.6.2
		if is.set && is.value > c.own {
			return c.reject("power_levels.default_new", "%s would be %d, above the sender's level %d", name, is.value, c.own)
		}
	}
	return nil
}

// events is rules 10.7 and 10.8; notifications count from room version 6 on.
func (c *levelChange) events() error {
	type pair struct {
		name     string
		old, new levelsBy[string]
	}
	pairs := []pair{{"events", c.old.events, c.new.events}}
	if c.rules.NotificationLevels {
		pairs = append(pairs, pair{"notifications", c.old.notifications, c.new.notifications})
	}
	// spec:rooms/v12#authorisation-rules 10.7.1
	for _, p := range pairs {
		if l, ok := differs(p.old, p.new, func(_ string, was int64) bool { return was > c.own }); ok {
			return c.reject("power_levels.event_current", "the level of %q in %s is %d, above the sender's level %d",
				l.key, p.name, l.value, c.own)
		}
	}
	// spec:rooms/v12#authorisation-rules 10.8.1
	for _, p := range pairs {
		if l, ok := differs(p.new, p.old, func(_ string, is int64) bool { return is > c.own }); ok {
			return c.reject("power_levels.event_new", "the level of %q in %s would be %d, above the sender's level %d",
				l.key, p.name, l.value, c.own)
		}
	}
	return nil
}

// users is rules 10.9 and 10.10.
func (c *levelChange) users() error {
	// spec:rooms/v12#authorisation-rules 10.9.1
	taken := func(user id.UserID, was int64) bool { return user != c.e.Sender() && was >= c.own }
	if l, ok := differs(c.old.users, c.new.users, taken); ok {
		return c.reject("power_levels.user_current", "the level of %s is %d, not below the sender's level %d", l.key, l.value, c.own)
	}
	// spec:rooms/v12#authorisation-rules 10.10.1
	given := func(_ id.UserID, is int64) bool { return is > c.own }
	if l, ok := differs(c.new.users, c.old.users, given); ok {
		return c.reject("power_levels.user_new", "the level of %s would be %d, above the sender's level %d", l.key, l.value, c.own)
	}
	return nil
}

// differs finds the first entry of l that is absent or another in other, and bad.
func differs[K ~string](l, other levelsBy[K], bad func(K, int64) bool) (levelOf[K], bool) {
	for _, entry := range l {
		if w, ok := other.of(entry.key); (!ok || w != entry.value) && bad(entry.key, entry.value) {
			return entry, true
		}
	}
	return levelOf[K]{}, false
}

package authrules

// aliases is the rule on m.room.aliases events of room versions 1 to 5.
func (c *check) aliases() (verdict, error) {
	// spec:rooms/v5#authorisation-rules 4
	if !c.rules.AliasesAuthRule || c.e.Type() != typeAliases {
		return next, nil
	}
	// spec:rooms/v5#authorisation-rules 4.1
	key, ok := c.e.StateKey()
	if !ok {
		return next, c.reject("aliases.no_state_key", "an m.room.aliases event needs a server name as its state key")
	}
	// spec:rooms/v5#authorisation-rules 4.2
	if key != string(c.e.Sender().Server()) {
		return next, c.reject("aliases.other_domain", "the aliases of %q can't be set by %s", key, c.e.Sender())
	}
	// spec:rooms/v5#authorisation-rules 4.3
	return allow, nil
}

package room

import (
	"cmp"
	"slices"

	"hanse/federation/id"
)

// servers counts the joined members of each server in the current state.
type servers struct {
	count  map[id.ServerName]int
	told   []id.ServerName // others that are in the room by another server's word, while the state isn't whole
	sorted []id.ServerName // nil: to be made
	remote []id.ServerName // sorted without ourselves; nil: to be made
}

func newServers(count map[id.ServerName]int) servers {
	if count == nil {
		count = make(map[id.ServerName]int)
	}
	return servers{count: count}
}

// list is sorted by members, most first, then by name. It is made anew only after a change, and never changed after it was given out.
func (v *servers) list() []id.ServerName {
	if v.sorted == nil {
		v.sorted = make([]id.ServerName, 0, len(v.count))
		for s := range v.count {
			v.sorted = append(v.sorted, s)
		}
		slices.SortFunc(v.sorted, func(a, b id.ServerName) int {
			return cmp.Or(cmp.Compare(v.count[b], v.count[a]), cmp.Compare(a, b))
		})
		for _, s := range v.told {
			if v.count[s] == 0 {
				v.sorted = append(v.sorted, s)
			}
		}
	}
	return v.sorted
}

// tell sets the servers that we are told of, sorted; nil when we know them all.
func (v *servers) tell(told []id.ServerName) {
	v.told, v.sorted, v.remote = told, nil, nil
}

// known tells whether a server is in the list.
func (v *servers) known(server id.ServerName) bool {
	_, told := slices.BinarySearch(v.told, server)
	return told || v.count[server] > 0
}

// others is the list without self.
func (v *servers) others(self id.ServerName) []id.ServerName {
	if v.remote == nil {
		v.remote = slices.DeleteFunc(slices.Clone(v.list()), func(s id.ServerName) bool { return s == self })
	}
	return v.remote
}

// apply takes over what changed, 0 for a server that left.
func (v *servers) apply(changed map[id.ServerName]int) {
	if len(changed) == 0 {
		return
	}
	for s, n := range changed {
		if n == 0 {
			delete(v.count, s)
		} else {
			v.count[s] = n
		}
	}
	v.sorted, v.remote = nil, nil
}

// countServers tells whose number of joined members changes with the current state, and to what. All members of a large room may have
// changed at once: their events aren't kept.
func (s *step) countServers(changes []StateChange) (map[id.ServerName]int, error) {
	var members []StateChange
	for _, c := range changes {
		if c.Key.Type == typeMember {
			members = append(members, c)
		}
	}
	var changed map[id.ServerName]int
	for chunk := range slices.Chunk(members, maxSourceBatch/2) {
		ids := make([]id.EventID, 0, 2*len(chunk))
		for _, c := range chunk {
			for _, e := range [2]id.EventID{c.Old, c.New} {
				if _, noted := s.members[e]; e != "" && !noted {
					ids = append(ids, e)
				}
			}
		}
		events, err := s.glance(ids)
		if err != nil {
			return nil, err
		}
		joined := func(e id.EventID) bool {
			if m, noted := s.members[e]; noted {
				return m.Membership == "join"
			}
			stored, ok := events[e]
			return ok && stored.Event.Membership() == "join"
		}
		for _, c := range chunk {
			was, is := joined(c.Old), joined(c.New)
			user, err := id.ParseUserID(c.Key.StateKey)
			if err != nil || was == is {
				continue // no user: a member event with such a state key can't be anybody's join
			}
			if changed == nil {
				changed = make(map[id.ServerName]int)
			}
			server := user.Server()
			n, ok := changed[server]
			if !ok {
				n = s.m.servers.count[server]
			}
			if is {
				n++
			} else {
				n--
			}
			changed[server] = n
		}
	}
	for server, n := range changed {
		changed[server] = max(n, 0)
	}
	return changed, nil
}

func (s *step) isJoin(e id.EventID) (bool, error) {
	if e == "" {
		return false, nil
	}
	stored, ok, err := s.stored(e)
	if err != nil || !ok {
		return false, err
	}
	return stored.Event.Membership() == "join", nil
}

// receivers are the servers that get the event of c: those joined before or after this step, and that of a user whose membership,
// invite or knock somebody else ended; without ourselves and without the origin.
func (s *step) receivers(c *Committed, changed map[id.ServerName]int, origin id.ServerName) ([]id.ServerName, error) {
	members := &s.m.servers
	list := members.others(s.m.self)
	var more []id.ServerName
	add := func(server id.ServerName) {
		if server != s.m.self && !members.known(server) && !slices.Contains(more, server) {
			more = append(more, server)
		}
	}
	for server, n := range changed {
		if n > 0 {
			add(server)
		}
	}
	target, ok, err := s.ended(c)
	if err != nil {
		return nil, err
	}
	if ok {
		add(target)
	}
	if len(more) > 0 {
		slices.Sort(more)
		list = append(slices.Clip(list), more...)
	}
	if origin != "" && slices.Contains(list, origin) {
		list = slices.DeleteFunc(slices.Clone(list), func(server id.ServerName) bool { return server == origin })
	}
	return list, nil
}

// ended gives the server of the user whose join, invite or knock is ended by somebody else's event: it is to learn of it though it
// may have nobody in the room. Deployed servers take back invites over federation in the same way.
func (s *step) ended(c *Committed) (id.ServerName, bool, error) {
	e := c.Event
	if m := e.Membership(); m != "leave" && m != "ban" {
		return "", false, nil
	}
	key, _ := e.StateKey()
	target, err := id.ParseUserID(key)
	if err != nil || target == e.Sender() {
		return "", false, nil
	}
	old, err := c.Before.Event(typeMember, key)
	if err != nil || old == "" {
		return "", false, err
	}
	stored, ok, err := s.stored(old)
	if err != nil || !ok {
		return "", false, err
	}
	switch stored.Event.Membership() {
	case "join", "invite", "knock":
		return target.Server(), true, nil
	}
	return "", false, nil
}

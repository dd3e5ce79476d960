package room

import (
	"slices"
	"time"

	"hanse/federation/id"
)

// newcomer is a server that came into the room with us as the resident server. Until the others have heard of it they don't
// send it their events, and who sends its last event in that moment would leave the newcomer without it until somebody speaks
// again: it is we who knew both sides, so we pass such events on. The spec leaves this gap open; servers that take events only
// from their senders' servers (Synapse) ignore what is passed on.
type newcomer struct {
	server id.ServerName
	user   id.UserID
	until  time.Time
}

// welcome notes the server of a join that we accepted, if nobody of it was in the room before.
func (s *step) welcome(c *Committed) {
	key, _ := c.Event.StateKey()
	user, err := id.ParseUserID(key)
	if err != nil || c.Event.Membership() != "join" || s.m.servers.count[user.Server()] > 0 {
		return
	}
	list := slices.DeleteFunc(s.m.newcomers, func(n newcomer) bool { return !n.until.After(s.now) })
	if len(list) >= maxNewcomers {
		list = slices.Delete(list, 0, 1)
	}
	s.m.newcomers = append(list, newcomer{server: user.Server(), user: user, until: s.now.Add(newcomerTime)})
}

// passOn tells which newcomers are to get an event of origin: those of whom its sender did not know.
func (s *step) passOn(c *Committed, origin id.ServerName) error {
	var to []id.ServerName
	for _, n := range s.m.newcomers {
		if !n.until.After(s.now) || n.server == origin || n.server == c.Event.Sender().Server() {
			continue
		}
		member, err := c.Before.Event(typeMember, string(n.user)) // "": the sender knew of no membership
		if err != nil {
			return err
		}
		known, err := s.isJoin(member)
		if err != nil {
			return err
		}
		if !known {
			to = append(to, n.server)
		}
	}
	if len(to) > 0 {
		s.relays = append(s.relays, Send{Event: c.Event, Servers: to})
	}
	return nil
}

// relayed are the sends of passOn to servers that are still in the room after the step.
func (s *step) relayed(changed map[id.ServerName]int) []Send {
	var sends []Send
	for _, send := range s.relays {
		send.Servers = slices.DeleteFunc(send.Servers, func(server id.ServerName) bool {
			n, ok := changed[server]
			if !ok {
				n = s.m.servers.count[server]
			}
			return n == 0
		})
		if len(send.Servers) > 0 {
			sends = append(sends, send)
		}
	}
	return sends
}

package room

// backfill takes in history. Each event needs the state before it: by its prev events where they are known, by asking another server
// at the oldest ones. Only what is judged is stored: events that wait are not kept over a restart, the client that scrolls asks again.
func (s *step) backfill(in Backfill) error {
	return s.takeIn(in.Events, arrival{origin: in.Origin, backfill: true})
}

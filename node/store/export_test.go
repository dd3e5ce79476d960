package store

// FillLate is a read of a room that ends after something else has happened.
func FillLate(s *Store, read RoomInfo, meanwhile func()) {
	version := s.events.version.Load()
	meanwhile()
	fill(s, s.present.infos, read.RoomID, read, version)
}

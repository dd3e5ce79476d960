package store

import (
	"context"

	"hanse/federation/id"
)

// Alias is a local room alias.
type Alias struct {
	Alias   id.RoomAlias
	RoomID  id.RoomID
	Creator id.UserID
}

// CreateAlias makes an alias; [ErrExists] if it is taken.
func (s *Store) CreateAlias(ctx context.Context, a Alias) error {
	return s.create(ctx, "the alias "+string(a.Alias), "INSERT INTO aliases (alias, room_id, creator) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		string(a.Alias), string(a.RoomID), string(a.Creator))
}

// DeleteAlias removes an alias; [ErrNotFound] if there is none.
func (s *Store) DeleteAlias(ctx context.Context, alias id.RoomAlias) error {
	return s.change(ctx, "the alias "+string(alias), "DELETE FROM aliases WHERE alias = $1", string(alias))
}

// MoveAliases makes the aliases that lead to one room lead to another.
func (s *Store) MoveAliases(ctx context.Context, from, to id.RoomID) error {
	return s.exec(ctx, "UPDATE aliases SET room_id = $1 WHERE room_id = $2", string(to), string(from))
}

// Alias reads a local alias; false when there is none.
func (s *Store) Alias(ctx context.Context, alias id.RoomAlias) (Alias, bool, error) {
	a := Alias{Alias: alias}
	found, err := s.read.found(ctx, "SELECT room_id, creator FROM aliases WHERE alias = $1", []any{string(alias)}, &a.RoomID, &a.Creator)
	return a, found, err
}

// Aliases lists a room's local aliases in order.
func (s *Store) Aliases(ctx context.Context, r id.RoomID) ([]Alias, error) {
	return readRows(ctx, s, "SELECT alias, room_id, creator FROM aliases WHERE room_id = $1 ORDER BY alias", []any{string(r)},
		func(a *Alias) []any { return []any{&a.Alias, &a.RoomID, &a.Creator} })
}

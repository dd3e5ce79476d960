package slidingsync

import (
	"slices"
	"strings"

	"hanse/federation/id"
)

// filters choose rooms of a list; what is nil chooses all. Immutable.
type filters struct {
	direct, encrypted, invite *bool
	types, notTypes           []string // "" is a room without a type
	name                      string   // in lower case; "": any
	tags, notTags             []string
	spaces                    []id.RoomID
}

type filterForm struct {
	Direct    *bool     `json:"is_dm"`
	Encrypted *bool     `json:"is_encrypted"`
	Invite    *bool     `json:"is_invite"`
	Invited   *bool     `json:"is_invited"` // as MSC4186 has it now
	Types     []*string `json:"room_types"`
	NotTypes  []*string `json:"not_room_types"`
	Name      *string   `json:"room_name_like"`
	Tags      []string  `json:"tags"`
	NotTags   []string  `json:"not_tags"`
	Spaces    []string  `json:"spaces"`
}

func (f *filterForm) parse() (*filters, error) {
	for _, n := range []int{len(f.Types), len(f.NotTypes), len(f.Tags), len(f.NotTags), len(f.Spaces)} {
		if n > maxNamed {
			return nil, invalid("a filter has more than %d values", maxNamed)
		}
	}
	types := func(from []*string) []string {
		if from == nil {
			return nil
		}
		all := make([]string, len(from))
		for i, typ := range from {
			if typ != nil {
				all[i] = *typ
			}
		}
		return all
	}
	parsed := &filters{
		direct: f.Direct, encrypted: f.Encrypted, invite: f.Invite, types: types(f.Types), notTypes: types(f.NotTypes),
		tags: f.Tags, notTags: f.NotTags,
	}
	if f.Invited != nil {
		parsed.invite = f.Invited
	}
	if f.Name != nil {
		if len(*f.Name) > maxName {
			return nil, invalid("room_name_like has more than %d bytes", maxName)
		}
		parsed.name = strings.ToLower(*f.Name)
	}
	if f.Spaces != nil {
		parsed.spaces = []id.RoomID{}
	}
	for _, space := range f.Spaces {
		if room, err := id.ParseRoomID(space); err == nil { // "Unknown spaces … will be ignored"
			parsed.spaces = append(parsed.spaces, room)
		}
	}
	return parsed, nil
}

// wantsTraits tells whether rooms' own traits matter.
func (f *filters) wantsTraits() bool {
	return f.encrypted != nil || f.types != nil || f.notTypes != nil || f.name != ""
}

// lets tells whether a room is in the list, as far as the user's own data decides.
func (f *filters) lets(l *listed) bool {
	has := func(tag string) bool { return slices.Contains(l.tags, tag) }
	switch {
	case f.direct != nil && *f.direct != l.direct:
	case f.invite != nil && *f.invite != (l.membership.Membership == "invite"):
	case f.tags != nil && !slices.ContainsFunc(f.tags, has):
	case slices.ContainsFunc(f.notTags, has):
	default:
		return true
	}
	return false
}

// letsTraits tells whether a room is in the list, as far as its traits decide. A room of which nothing is known is in none that asks
// for a trait, as deployed servers have it.
func (f *filters) letsTraits(t traits) bool {
	switch {
	case f.wantsTraits() && !t.known:
	case f.encrypted != nil && *f.encrypted != t.encrypted:
	case f.types != nil && !slices.Contains(f.types, t.typ):
	case slices.Contains(f.notTypes, t.typ):
	case f.name != "" && !strings.Contains(t.name, f.name):
	default:
		return true
	}
	return false
}

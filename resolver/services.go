package resolver

import (
	"cmp"
	"fmt"
	"slices"
)

// Service is an SRV record.
type Service struct {
	Host             string // without the final dot; "" for "." (there is no such service)
	Port             uint16
	Priority, Weight uint16
}

// String is the record for people.
func (s Service) String() string {
	if s.Host == "" {
		return "no such service"
	}
	return fmt.Sprintf("%s:%d (priority %d, weight %d)", s.Host, s.Port, s.Priority, s.Weight)
}

// orderServices is the order in which to try services, as in RFC 2782: by priority, and within a priority at random
// in proportion to the weights. random gives a number from 0 to n-1.
func orderServices(services []Service, random func(n int) int) []Service {
	rest := slices.Clone(services)
	slices.SortStableFunc(rest, func(a, b Service) int {
		// Those of weight 0 come first, so that they have a chance.
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	ordered := make([]Service, 0, len(rest))
	for len(rest) > 0 {
		n, sum := 0, 0
		for n < len(rest) && rest[n].Priority == rest[0].Priority {
			sum += int(rest[n].Weight)
			n++
		}
		pick, at := 0, random(sum+1)
		for running := int(rest[0].Weight); running < at && pick < n-1; running += int(rest[pick].Weight) {
			pick++
		}
		ordered = append(ordered, rest[pick])
		rest = slices.Delete(rest, pick, pick+1)
	}
	return ordered
}

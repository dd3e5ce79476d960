package appservice

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// protocolCache is what a service said of its protocols. Safe for concurrent use.
type protocolCache struct {
	mu    sync.Mutex
	known map[string]knownProtocol // guarded by mu; of the registration's protocols only
}

type knownProtocol struct {
	at       time.Time
	protocol protocol
}

// protocol is the description of one, by its keys.
//
// spec:application-service-api#get_matrixappv1thirdpartyprotocolprotocol
type protocol map[string]json.RawMessage

// Protocols describes all third-party protocols; those whose services don't answer are left out.
//
// spec:application-service-api#third-party-networks
func (s *Services) Protocols(ctx context.Context) map[string]any {
	names := map[string]bool{}
	for _, service := range s.all {
		for _, name := range service.Protocols {
			names[name] = true
		}
	}
	all := map[string]any{}
	for name := range names {
		if p, ok := s.Protocol(ctx, name); ok {
			all[name] = p
		}
	}
	return all
}

// Protocol describes one protocol: as the first service does that has it, with the instances of all.
func (s *Services) Protocol(ctx context.Context, name string) (any, bool) {
	var found protocol
	instances := []json.RawMessage{}
	for _, p := range each(ctx, s.having(name), func(ctx context.Context, service *Service) (protocol, bool) {
		return service.protocol(ctx, name)
	}) {
		if found == nil {
			found = protocol{}
			for key, value := range p {
				found[key] = value
			}
		}
		var more []json.RawMessage
		if exactjson.Unmarshal(p["instances"], &more) == nil {
			instances = append(instances, more[:min(len(more), maxResults-len(instances))]...)
		}
	}
	if found == nil {
		return nil, false
	}
	raw, err := json.Marshal(instances)
	if err != nil {
		return nil, false
	}
	found["instances"] = raw
	return found, true
}

// having are the services that have a protocol and can be asked.
func (s *Services) having(protocol string) []*Service {
	var list []*Service
	for _, service := range s.all {
		if service.URL != "" && slices.Contains(service.Protocols, protocol) {
			list = append(list, service)
		}
	}
	return list
}

// each asks services at the same time, and gives the answers in their order.
func each[T any](ctx context.Context, services []*Service, ask func(context.Context, *Service) (T, bool)) []T {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	answers, good := make([]T, len(services)), make([]bool, len(services))
	var asking sync.WaitGroup
	for i, service := range services {
		asking.Go(func() {
			if service.enter(ctx) {
				defer service.leave()
				answers[i], good[i] = ask(ctx, service)
			}
		})
	}
	asking.Wait()
	var list []T
	for i, answer := range answers {
		if good[i] {
			list = append(list, answer)
		}
	}
	return list
}

// lookUp asks a service for something of a third-party network and decodes the answer.
func (s *Service) lookUp(ctx context.Context, path string, query url.Values, into any) bool {
	a, err := s.ask(ctx, call{
		method: http.MethodGet, path: "/thirdparty" + path, legacy: "/_matrix/app/unstable/thirdparty" + path, query: query, most: maxLookupBytes,
	})
	switch {
	case err != nil:
		s.log.Debug("an application service does not answer a question", "path", path, "error", err)
	case a.cut:
		s.log.Debug("the answer of an application service is too long", "path", path)
	case a.good():
		return exactjson.Unmarshal(a.body, into) == nil
	}
	return false
}

// protocol is what a service says of one of its protocols, each of its instances with an ID that no other has.
func (s *Service) protocol(ctx context.Context, name string) (protocol, bool) {
	s.protocols.mu.Lock()
	known, ok := s.protocols.known[name]
	s.protocols.mu.Unlock()
	if ok && time.Since(known.at) < protocolLife {
		return known.protocol, true
	}
	var p protocol
	if !s.lookUp(ctx, "/protocol/"+url.PathEscape(name), nil, &p) || p == nil {
		return nil, false
	}
	var instances []map[string]json.RawMessage
	_ = exactjson.Unmarshal(p["instances"], &instances) // none, if it is no list of objects
	named := make([]map[string]json.RawMessage, 0, len(instances))
	for _, instance := range instances {
		var network string
		if exactjson.Unmarshal(instance["network_id"], &network) != nil {
			continue
		}
		instanceID, err := json.Marshal(s.ID + instanceMark + network)
		if err != nil {
			continue
		}
		instance["instance_id"] = instanceID
		named = append(named, instance)
	}
	raw, err := json.Marshal(named)
	if err != nil {
		return nil, false
	}
	p["instances"] = raw
	s.protocols.mu.Lock()
	defer s.protocols.mu.Unlock()
	if s.protocols.known == nil {
		s.protocols.known = map[string]knownProtocol{}
	}
	s.protocols.known[name] = knownProtocol{time.Now(), p}
	return p, true
}

// instanceMark stands between a service and a network in the ID of a protocol's instance, as by Synapse.
const instanceMark = "|"

// Instance says which service and network the ID of a protocol's instance stands for.
func (s *Services) Instance(instance string) (service, network string, ok bool) {
	for _, one := range s.all {
		if network, ok := strings.CutPrefix(instance, one.ID+instanceMark); ok {
			return one.ID, network, true
		}
	}
	return "", "", false
}

// Location is a place of a third-party network, and the alias that leads to it.
type Location struct {
	Alias    string         `json:"alias"`
	Protocol string         `json:"protocol"`
	Fields   map[string]any `json:"fields"`
}

// User is somebody of a third-party network, and who they are here.
type User struct {
	UserID   string         `json:"userid"`
	Protocol string         `json:"protocol"`
	Fields   map[string]any `json:"fields"`
}

// Locations asks all services that have a protocol for places with these fields.
//
// spec:application-service-api#get_matrixappv1thirdpartylocationprotocol
func (s *Services) Locations(ctx context.Context, protocol string, fields url.Values) []Location {
	return results(ctx, s.having(protocol), "/location/"+url.PathEscape(protocol), fields, Location.good)
}

// ThirdPartyUsers asks all services that have a protocol for users with these fields.
//
// spec:application-service-api#get_matrixappv1thirdpartyuserprotocol
func (s *Services) ThirdPartyUsers(ctx context.Context, protocol string, fields url.Values) []User {
	return results(ctx, s.having(protocol), "/user/"+url.PathEscape(protocol), fields, User.good)
}

// LocationsOf asks the services in whose namespaces an alias is which places it leads to.
//
// spec:application-service-api#get_matrixappv1thirdpartylocation
func (s *Services) LocationsOf(ctx context.Context, alias id.RoomAlias) []Location {
	return results(ctx, s.those(func(one *Service) bool { return one.Aliases.Match(string(alias)) }),
		"/location", url.Values{"alias": {string(alias)}}, Location.good)
}

// ThirdPartyUsersOf asks the services in whose namespaces a user is who that is elsewhere.
//
// spec:application-service-api#get_matrixappv1thirdpartyuser
func (s *Services) ThirdPartyUsersOf(ctx context.Context, user id.UserID) []User {
	return results(ctx, s.those(func(one *Service) bool { return one.Covers(user) }),
		"/user", url.Values{"userid": {string(user)}}, User.good)
}

// those are the services with third-party protocols that can be asked, and which it concerns.
func (s *Services) those(concerns func(*Service) bool) []*Service {
	var list []*Service
	for _, service := range s.all {
		if service.URL != "" && len(service.Protocols) > 0 && concerns(service) {
			list = append(list, service)
		}
	}
	return list
}

func (l Location) good() bool { return l.Alias != "" && l.Protocol != "" && l.Fields != nil }
func (u User) good() bool     { return u.UserID != "" && u.Protocol != "" && u.Fields != nil }

// results puts together what services answer, without what has not the form it must have.
func results[T any](ctx context.Context, services []*Service, path string, query url.Values, good func(T) bool) []T {
	var all []T
	for _, some := range each(ctx, services, func(ctx context.Context, service *Service) ([]json.RawMessage, bool) {
		var list []json.RawMessage
		good := service.lookUp(ctx, path, query, &list)
		return list, good
	}) {
		for _, raw := range some {
			var one T
			if exactjson.Unmarshal(raw, &one) == nil && good(one) && len(all) < maxResults {
				all = append(all, one)
			}
		}
	}
	return all
}

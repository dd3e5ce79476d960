package node

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"hanse/node/push"
	"hanse/resolver"
)

// pushGateways is what notifies users' devices. Users choose the gateways, so that they are called like other servers
// are: never at an address that isn't public, unless it is configured.
func (n *Node) pushGateways() (*push.Pushers, error) {
	roots, err := n.config.trustedCAs()
	if err != nil {
		return nil, fmt.Errorf("federation.trusted_cas: %w", err)
	}
	allowed, err := readPrefixes(n.config.Push.AllowAddresses)
	if err != nil {
		return nil, fmt.Errorf("push.allow_addresses: %w", err)
	}
	finder := resolver.New(resolver.Config{
		DNSServer: n.config.Federation.DNSServer, Roots: roots, Allow: allowed, Network: n.network, Log: n.log,
	})
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: finder.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return push.NewPushers(push.Config{
		Store: n.store, Source: n.syncer, Client: client, AllowHTTP: len(allowed) > 0, Log: n.log,
	})
}

package node

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"hanse/node/push"
	"hanse/resolver"
)

// pushGateways is what notifies users' devices.
func (n *Node) pushGateways() (*push.Pushers, error) {
	client, err := n.gatewayClient()
	if err != nil {
		return nil, err
	}
	return push.NewPushers(push.Config{
		Store: n.store, Source: n.syncer, Client: client, AllowHTTP: len(n.config.Push.AllowAddresses) > 0, Log: n.log,
	})
}

// gatewayClient calls push gateways. Users choose them, so that they are called like other servers are: never at an address
// that isn't public, unless it is configured.
func (n *Node) gatewayClient() (*http.Client, error) {
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
	return &http.Client{
		Transport: &http.Transport{
			DialContext: finder.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

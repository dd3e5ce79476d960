package testnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"hanse/federation/id"
	"hanse/node"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
)

// NodeConfig is the configuration of one Hanse node by the orders of the adapter contract. It writes the node's
// certificate into its data folder. Variables that the contract doesn't know may be set for tests and benchmarks:
// HANSE_MONITOR, the address of the node's metrics and profiles, HANSE_PRESENCE, which way presence goes (the default without it),
// HANSE_LOG, what is logged (debug without it), HANSE_MAIL, the address of a mail server that can't encrypt, and HANSE_OAUTH, by which clients
// log in by OAuth 2.0 if it isn't empty.
func NodeConfig(getenv func(string) string) (node.Config, error) {
	orders, err := adapter.OrdersFrom(getenv)
	if err != nil {
		return node.Config{}, err
	}
	name, err := id.ParseServerName(orders.ServerName)
	if err != nil {
		return node.Config{}, err
	}
	certificate, key, err := issueFor(name, orders)
	if err != nil {
		return node.Config{}, err
	}
	config := node.Config{ServerName: orders.ServerName, DataDir: orders.DataDir}
	config.Database.URL = orders.DatabaseURL
	config.Client.Listen = []string{net.JoinHostPort(orders.BindAddr.String(), "8008")}
	config.Client.PublicURL = orders.ClientURL()
	config.Federation.Listen = []string{orders.FederationAddr()}
	config.Federation.Certificate, config.Federation.Key = certificate, key
	config.Federation.TrustedCAs = orders.CABundle
	config.Federation.DNSServer = orders.DNSServer
	config.Federation.AllowAddresses = []string{"127.0.0.0/8", "::1"}
	config.Registration.Open = true
	config.Registration.SharedSecret = orders.SharedSecret
	config.RateLimits.Disabled = true
	if orders.AppserviceDir != "" {
		if config.ApplicationServices, err = filepath.Glob(filepath.Join(orders.AppserviceDir, "*.yaml")); err != nil {
			return node.Config{}, err
		}
	}
	config.Rooms.DefaultVersion = orders.RoomVersion
	if orders.RoomVersion == "" {
		config.Rooms.DefaultVersion = "10"
	}
	config.Monitor.Listen = getenv("HANSE_MONITOR")
	config.Presence = getenv("HANSE_PRESENCE")
	config.OAuth.Enabled = getenv("HANSE_OAUTH") != ""
	if mail := getenv("HANSE_MAIL"); mail != "" {
		address, err := netip.ParseAddrPort(mail)
		if err != nil {
			return node.Config{}, err
		}
		config.Email = node.EmailConfig{Host: address.Addr().String(), Port: int(address.Port()), Encryption: "none", From: "noreply@hanse.test"}
	}
	if config.Log.Level = getenv("HANSE_LOG"); config.Log.Level == "" {
		config.Log.Level = "debug"
	}
	return config, nil
}

func issueFor(name id.ServerName, orders adapter.Orders) (certificate, key string, err error) {
	certPEM, err := os.ReadFile(orders.CACert)
	if err != nil {
		return "", "", err
	}
	keyPEM, err := os.ReadFile(orders.CAKey)
	if err != nil {
		return "", "", err
	}
	ca, err := fabric.ParseCA(certPEM, keyPEM)
	if err != nil {
		return "", "", err
	}
	names := []string{name.Host(), orders.BindAddr.String()}
	if literal, ok := name.Literal(); ok {
		names[0] = literal.String()
	}
	if certPEM, keyPEM, err = ca.Issue(names...); err != nil {
		return "", "", err
	}
	certificate, key = filepath.Join(orders.DataDir, "federation.crt"), filepath.Join(orders.DataDir, "federation.key")
	return certificate, key, errors.Join(
		os.MkdirAll(orders.DataDir, 0o700),
		os.WriteFile(key, keyPEM, 0o600), os.WriteFile(certificate, certPEM, 0o600),
	)
}

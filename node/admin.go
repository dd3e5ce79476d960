package node

import (
	"log/slog"
	"net/http"

	"hanse/federation/id"
	"hanse/node/admin"
)

// Admin answers an operator's questions: see node/admin.
func (n *Node) Admin() http.Handler {
	return admin.New(admin.Config{
		Self: n.name, Version: Version(), Store: n.store, Rooms: n.rooms, Sender: n.sender, Users: n.users, Services: n.delivery,
		LoggedOut:   func(user id.UserID) { n.ephemeral.DevicesGone(user, func(string) bool { return true }) },
		AccountGone: n.ephemeral.AccountGone, Log: n.log,
		Journal: &n.telemetry.Journal, Traces: &n.telemetry.Traces, Monitor: n.telemetry.Handler(),
	})
}

// bindAdmin opens the socket on which an operator's questions are answered. A file system that can't have one keeps no
// server from serving.
func (n *Node) bindAdmin() {
	listener, err := admin.Listen(n.config.DataDir, n.open)
	if err != nil && n.network != nil {
		return // a network in memory has no files: who runs the node asks Admin
	}
	if err != nil {
		n.log.Warn("nobody can ask this server: hanse explain, peers and rooms won't find it", "error", err)
		return
	}
	n.endpoints = append(n.endpoints, &endpoint{setting: "admin", listener: listener, server: &http.Server{
		Handler: n.Admin(), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}})
}

// Folder is where the node keeps its data.
func (c Config) Folder() string { return c.withDefaults().DataDir }

// Package testnet runs a small Matrix on one machine: N nodes, each a process of its own with its own data folder,
// address, key and certificate, who find each other through the testnet's DNS server and trust its certificate
// authority. Nothing is switched off: the nodes run the same code as a public server.
package testnet

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"hanse/testnet/fabric"
)

// MaxNodes is the largest testnet: what a laptop carries and one table shows.
const MaxNodes = 50

// Discovery is how the other nodes find a node. spec:server-server-api#resolving-server-names
type Discovery string

const (
	BySRV       Discovery = "SRV record"    // _matrix-fed._tcp points at the node
	ByPort      Discovery = "name and port" // the server name has the port
	ByWellKnown Discovery = "well-known"    // https://name/.well-known/matrix/server delegates
)

// Plan is what a testnet consists of. It is kept in testnet.json in the data folder, so that a later start goes on
// with the same nodes.
type Plan struct {
	RoomVersion  string     `json:"room_version"`
	SharedSecret string     `json:"shared_secret"`
	Nodes        []PlanNode `json:"nodes"`
}

// PlanNode is one node with its user.
type PlanNode struct {
	Name       string       `json:"name"` // node1
	ServerName string       `json:"server_name"`
	Discovery  Discovery    `json:"discovery"`
	Place      fabric.Place `json:"place"`
	User       string       `json:"user"` // the local part of its ID
	Password   string       `json:"password"`
}

// UserID is the Matrix ID of the node's user.
func (n PlanNode) UserID() string { return "@" + n.User + ":" + n.ServerName }

// ClientURL is where clients reach the node.
func (n PlanNode) ClientURL() string { return "http://" + n.Place.Client() }

// hostname is the server name without its port.
func (n PlanNode) hostname() string {
	host, _, found := strings.Cut(n.ServerName, ":")
	if !found {
		return n.ServerName
	}
	return host
}

// targetHost is the name of the machine that discovery ends at.
func (n PlanNode) targetHost() string {
	if n.Discovery == ByPort {
		return n.hostname()
	}
	return "matrix." + n.hostname()
}

func planFile(dir string) string { return filepath.Join(dir, "testnet.json") }

// loadOrMakePlan reads the plan kept in dir, or makes and keeps one. nodes = 0 and roomVersion = "" mean: as kept, or
// the defaults (3 nodes; the server's default version). kept tells that the plan was there already.
func loadOrMakePlan(dir string, nodes int, roomVersion string) (plan Plan, kept bool, err error) {
	data, err := os.ReadFile(planFile(dir))
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &plan); err != nil || len(plan.Nodes) == 0 {
			return plan, false, fmt.Errorf("%s is not a testnet's plan (%v); use another --dir", planFile(dir), err)
		}
		if nodes != 0 && nodes != len(plan.Nodes) {
			return plan, false, fmt.Errorf("the testnet in %s has %d nodes, not %d; leave --nodes out or use another --dir", dir, len(plan.Nodes), nodes)
		}
		if roomVersion != "" && roomVersion != plan.RoomVersion {
			made := "in room version " + plan.RoomVersion
			if plan.RoomVersion == "" {
				made = "without --room-version"
			}
			return plan, false, fmt.Errorf("the room of the testnet in %s was made %s; leave --room-version out or use another --dir", dir, made)
		}
		return plan, true, plan.free(dir)
	case !errors.Is(err, fs.ErrNotExist):
		return plan, false, err
	}
	if nodes == 0 {
		nodes = 3
	}
	places, err := fabric.Places(nodes)
	if err != nil {
		return plan, false, err
	}
	plan = makePlan(places, roomVersion)
	data, err = json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return plan, false, err
	}
	return plan, false, fabric.WriteFile(planFile(dir), append(data, '\n'), 0o600)
}

// free tells whether the addresses of a plan's nodes can be listened at. Who answers there in place of a node would be taken for it.
func (p Plan) free(dir string) error {
	for _, node := range p.Nodes {
		for _, address := range []string{node.Place.Client(), node.Place.Federation()} {
			listener, err := net.Listen("tcp", address)
			if err == nil {
				err = listener.Close()
			}
			if err != nil {
				return fmt.Errorf("the testnet in %s is up already, or another program is at %s's address (%w); stop that one, or use another --dir", dir, node.Name, err)
			}
		}
	}
	return nil
}

func makePlan(places []fabric.Place, roomVersion string) Plan {
	plan := Plan{RoomVersion: roomVersion, SharedSecret: rand.Text()}
	password := strings.ToLower(rand.Text()[:12])
	for i, place := range places {
		node := PlanNode{Name: fmt.Sprintf("node%d", i+1), Place: place, User: userName(i), Password: password}
		node.ServerName = node.Name + ".test"
		switch i % 3 {
		case 0:
			node.Discovery = BySRV
		case 1:
			node.Discovery = ByPort
			_, port, _ := net.SplitHostPort(place.Federation()) // it was joined from both
			node.ServerName += ":" + port
		default:
			node.Discovery = ByWellKnown
			if !place.WellKnown {
				node.Discovery = BySRV
			}
		}
		plan.Nodes = append(plan.Nodes, node)
	}
	return plan
}

func userName(i int) string {
	names := []string{
		"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy",
		"karl", "lena", "mallory", "nina", "oscar", "peggy", "quentin", "rupert", "sybil", "trent",
	}
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("user%d", i+1)
}

// zone is the testnet's DNS: for each node the records of its way of discovery.
func (p Plan) zone() *fabric.Zone {
	zone := &fabric.Zone{}
	for _, node := range p.Nodes {
		zone.AddAddress(node.targetHost(), node.Place.IP)
		switch node.Discovery {
		case BySRV:
			zone.AddSRV("_matrix-fed._tcp", node.hostname(), node.targetHost(), node.Place.FederationPort, 10, 0)
		case ByWellKnown:
			zone.AddAddress(node.hostname(), node.Place.IP)
		}
	}
	return zone
}

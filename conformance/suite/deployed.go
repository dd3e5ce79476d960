package suite

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// Deployed is a server that runs already, and that one is allowed to test. The suite has no control over it, and it
// can't find the suite's peers: what is asked needs neither.
type Deployed struct {
	Name      id.ServerName // of the server
	ClientURL string        // of its client-server API
	Token     string        // of the user to be; "" makes one by open registration or Secret
	Secret    string        // of /_synapse/admin/v1/register; "" without
	// Roots are the certificate authorities that the server's certificate may be by; nil: the system's.
	Roots *x509.CertPool
	// Pause is what lies between two requests; 0: politePause.
	Pause time.Duration
}

// politePause is slower than the rate limits of the servers that are in use.
const politePause = 250 * time.Millisecond

// openDeployed makes the world around a server that runs already.
func openDeployed() {
	d := config.Deployed
	if d.Pause == 0 {
		d.Pause = politePause
	}
	home = d.Name
	sut = &server{name: d.Name, clientURL: strings.TrimRight(d.ClientURL, "/")}
}

// startDeployed finds the server that runs already, and makes alice somebody there.
func startDeployed(ctx context.Context) error {
	d, u := config.Deployed, sut.visitor()
	var versions struct {
		Versions []string `json:"versions"`
	}
	if err := u.Call(ctx, http.MethodGet, "/_matrix/client/versions", nil, nil, &versions); err != nil {
		return fmt.Errorf("%s is no client-server API of a homeserver: %w", d.ClientURL, err)
	}
	if len(versions.Versions) == 0 {
		return fmt.Errorf("%s is no client-server API of a homeserver: its /_matrix/client/versions names no version", d.ClientURL)
	}
	if err := signIn(ctx, u, d); err != nil {
		return err
	}
	alice = u
	before, err := joinedRooms(ctx, u)
	if err != nil {
		return err
	}
	closers = append(closers, func() {
		leaveRooms(u, before)
		if d.Token == "" {
			_ = u.Call(context.Background(), http.MethodPost, "/_matrix/client/v3/logout", nil, nil, nil) // the token is thrown away in any case
		}
	})
	return nil
}

// signIn makes u somebody with an account.
func signIn(ctx context.Context, u *user.User, d *Deployed) error {
	if d.Token != "" {
		u.Token = d.Token
		var who struct {
			UserID   string `json:"user_id"`
			DeviceID string `json:"device_id"`
		}
		if err := u.Call(ctx, http.MethodGet, "/_matrix/client/v3/account/whoami", nil, nil, &who); err != nil {
			return fmt.Errorf("the access token is not taken: %w", err)
		}
		u.ID, u.DeviceID = who.UserID, who.DeviceID
	} else {
		name := "conformance-" + strings.ToLower(rand.Text()[:10])
		err := u.RegisterOpenly(ctx, name, rand.Text())
		if err != nil && d.Secret != "" {
			err = u.Register(ctx, name, rand.Text(), d.Secret)
		}
		if err != nil {
			return fmt.Errorf("%s lets nobody register; give an access token or a registration secret: %w", d.Name, err)
		}
	}
	if server := id.UserID(u.ID).Server(); server != d.Name {
		return fmt.Errorf("the server at %s is %s, not %s: its user is %s", d.ClientURL, server, d.Name, u.ID)
	}
	return nil
}

func joinedRooms(ctx context.Context, u *user.User) ([]string, error) {
	var rooms struct {
		Joined []string `json:"joined_rooms"`
	}
	err := u.Call(ctx, http.MethodGet, "/_matrix/client/v3/joined_rooms", nil, nil, &rooms)
	return rooms.Joined, err
}

// leaveRooms leaves and forgets what the run made.
func leaveRooms(u *user.User, before []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	now, err := joinedRooms(ctx, u)
	if err != nil {
		return // it is gone: so are its rooms
	}
	for _, room := range now {
		if slices.Contains(before, room) {
			continue
		}
		if u.Leave(ctx, room) == nil {
			_ = u.Call(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+room+"/forget", nil, nil, nil) // left is enough
		}
	}
}

// asker is a peer that only asks: the server under test need not find it.
func asker() *peer.Peer {
	GinkgoHelper()
	if config.Deployed == nil {
		return newPeer()
	}
	p, err := peer.Start(peer.Config{Name: "conformance-suite.invalid", Listen: "127.0.0.1:0", CA: ca, Roots: config.Deployed.Roots, Public: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(p.Close)
	seen = append(seen, p)
	return p
}

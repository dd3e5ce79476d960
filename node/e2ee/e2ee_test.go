package e2ee_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/e2ee"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

func TestE2EE(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "e2ee")
}

const (
	self  = id.ServerName("example.org")
	far   = id.ServerName("far.test")
	alice = id.UserID("@alice:example.org")
	zoe   = id.UserID("@zoe:far.test")
)

// net asks the servers by their names; those that aren't there hang until the asker gives up.
type net map[id.ServerName]*e2ee.E2EE

func (n net) UserDevices(ctx context.Context, server id.ServerName, user id.UserID) (federation.UserDevices, error) {
	if n[server] == nil {
		<-ctx.Done()
		return federation.UserDevices{}, ctx.Err()
	}
	return n[server].UserDevices(ctx, self, user)
}

func (n net) QueryDeviceKeys(ctx context.Context, server id.ServerName, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
	if n[server] == nil {
		<-ctx.Done()
		return federation.DeviceKeysAnswer{}, ctx.Err()
	}
	return n[server].QueryDeviceKeys(ctx, self, q)
}

func (n net) ClaimDeviceKeys(ctx context.Context, server id.ServerName, q federation.OneTimeKeysClaim) (federation.OneTimeKeysAnswer, error) {
	if n[server] == nil {
		<-ctx.Done()
		return federation.OneTimeKeysAnswer{}, ctx.Err()
	}
	return n[server].ClaimDeviceKeys(ctx, self, q)
}

// open makes a server with one user who has the devices ONE and TWO.
func open(t testing.TB, name id.ServerName, user id.UserID, others net) (*e2ee.E2EE, *store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := store.Open(ctx, sqlite.Open(filepath.Join(t.TempDir(), "hanse.db")), store.Options{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = s.Close()
	})
	for _, device := range []string{"ONE", "TWO"} {
		if err := s.Login(ctx, store.Device{User: user, ID: device, Created: time.Now()}, store.HashToken(device)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := e2ee.New(e2ee.Config{Self: name, Store: s, Client: others})
	if err != nil {
		t.Fatal(err)
	}
	others[name] = e
	return e, s
}

func deviceKeys(user id.UserID, device string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"user_id":%q,"device_id":%q,"algorithms":[],"keys":{},"signatures":{}}`, user, device))
}

var _ = Describe("keys", func() {
	var here, there *e2ee.E2EE
	var thereStore *store.Store
	var ctx context.Context
	BeforeEach(func() {
		ctx = context.Background()
		servers := net{}
		here, _ = open(GinkgoTB(), self, alice, servers)
		there, thereStore = open(GinkgoTB(), far, zoe, servers)
	})

	It("are asked of their server, and one that hangs takes nothing from the others", func() {
		_, err := there.UploadKeys(ctx, zoe, "ONE", e2ee.Upload{DeviceKeys: deviceKeys(zoe, "ONE")})
		Expect(err).NotTo(HaveOccurred())
		keys, err := here.Query(ctx, alice, map[id.UserID][]string{zoe: nil, "@x:gone.test": nil}, 2*time.Second)
		Expect(err).NotTo(HaveOccurred())
		Expect(keys.DeviceKeys[zoe]).To(HaveKey("ONE"))
		Expect(keys.Failures).To(HaveLen(1))
		Expect(keys.Failures).To(HaveKey(id.ServerName("gone.test")))
	})

	It("are refused for another device", func() {
		_, err := here.UploadKeys(ctx, alice, "ONE", e2ee.Upload{DeviceKeys: deviceKeys(alice, "TWO")})
		Expect(err).To(MatchError(ContainSubstring("another user or device")))
	})

	It("are handed out once, however many ask, and then the fallback key", func() {
		upload := e2ee.Upload{OneTimeKeys: map[string]json.RawMessage{}, FallbackKeys: map[string]json.RawMessage{
			"signed_curve25519:last": json.RawMessage(`{"key":"last"}`),
		}}
		for i := range 50 {
			upload.OneTimeKeys[fmt.Sprintf("signed_curve25519:%d", i)] = json.RawMessage(`{"key":"x"}`)
		}
		counts, err := there.UploadKeys(ctx, zoe, "ONE", upload)
		Expect(err).NotTo(HaveOccurred())
		Expect(counts).To(HaveKeyWithValue("signed_curve25519", 50))
		var mu sync.Mutex
		given := map[string]int{}
		var group sync.WaitGroup
		for range 60 {
			group.Go(func() {
				defer GinkgoRecover()
				claimed, err := here.Claim(ctx, map[id.UserID]map[string]string{zoe: {"ONE": "signed_curve25519"}}, 0)
				Expect(err).NotTo(HaveOccurred())
				mu.Lock()
				defer mu.Unlock()
				for name := range claimed.OneTimeKeys[zoe]["ONE"] {
					given[name]++
				}
			})
		}
		group.Wait()
		Expect(given).To(HaveLen(51))
		Expect(given).To(HaveKeyWithValue("signed_curve25519:last", 10))
		_, unused, err := thereStore.KeyCounts(ctx, zoe, "ONE")
		Expect(err).NotTo(HaveOccurred())
		Expect(unused).To(BeEmpty())
	})

	It("of an upload are handed out in the order of their names", func() {
		upload := e2ee.Upload{OneTimeKeys: map[string]json.RawMessage{}}
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("signed_curve25519:%02d", i))
			upload.OneTimeKeys[names[i]] = json.RawMessage(`{"key":"x"}`)
		}
		_, err := there.UploadKeys(ctx, zoe, "ONE", upload)
		Expect(err).NotTo(HaveOccurred())
		for _, name := range names {
			claimed, err := here.Claim(ctx, map[id.UserID]map[string]string{zoe: {"ONE": "signed_curve25519"}}, 0)
			Expect(err).NotTo(HaveOccurred())
			Expect(claimed.OneTimeKeys[zoe]["ONE"]).To(HaveKey(name))
		}
	})

	It("of cross-signing need authentication only to be replaced, and a bad signature is refused", func() {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		Expect(err).NotTo(HaveOccurred())
		name := signedjson.EncodeBase64(public)
		master := json.RawMessage(fmt.Sprintf(`{"user_id":%q,"usage":["master"],"keys":{"ed25519:%s":%q}}`, alice, name, name))
		upload := e2ee.SigningKeys{Master: master}
		Expect(here.Replaces(ctx, alice, upload)).To(BeFalse())
		Expect(here.UploadSigningKeys(ctx, alice, upload)).To(Succeed())
		Expect(here.Replaces(ctx, alice, upload)).To(BeFalse())
		other, _, err := ed25519.GenerateKey(rand.Reader)
		Expect(err).NotTo(HaveOccurred())
		name2 := signedjson.EncodeBase64(other)
		selfSigning := json.RawMessage(fmt.Sprintf(`{"user_id":%q,"usage":["self_signing"],"keys":{"ed25519:%s":%q}}`, alice, name2, name2))
		Expect(here.Replaces(ctx, alice, e2ee.SigningKeys{SelfSigning: selfSigning})).To(BeTrue())
		Expect(here.UploadSigningKeys(ctx, alice, e2ee.SigningKeys{SelfSigning: selfSigning})).To(MatchError(ContainSubstring("not signed")))
		signed, err := signedjson.Sign(selfSigning, string(alice), signedjson.Key{ID: id.KeyID("ed25519:" + name), Private: private})
		Expect(err).NotTo(HaveOccurred())
		Expect(here.UploadSigningKeys(ctx, alice, e2ee.SigningKeys{SelfSigning: signed})).To(Succeed())
		keys, err := there.Query(ctx, zoe, map[id.UserID][]string{alice: nil}, 0)
		Expect(err).NotTo(HaveOccurred())
		Expect(keys.Master).To(HaveKey(alice))
		Expect(keys.SelfSigning).To(HaveKey(alice))
	})
})

var _ = Describe("messages to devices", func() {
	It("are no larger than an event, as a client gets a hundred at once; those beside one that is are delivered", func() {
		ctx := context.Background()
		here, s := open(GinkgoTB(), self, alice, net{})
		text := func(bytes int) json.RawMessage {
			return json.RawMessage(`{"n":"` + strings.Repeat("x", bytes-8) + `"}`)
		}
		const most = 64 << 10
		Expect(here.Send(ctx, alice, "ONE", "m.test", "1", e2ee.Messages{alice: {"ONE": text(most)}})).To(Succeed())
		for _, to := range []id.UserID{alice, zoe} {
			Expect(here.Send(ctx, alice, "ONE", "m.test", string("2"+to), e2ee.Messages{to: {"ONE": text(most + 1)}})).To(MatchError(ContainSubstring("M_TOO_LARGE")))
		}
		content, err := json.Marshal(federation.DirectToDevice{
			Sender: zoe, Type: "m.test", MessageID: "1", Messages: e2ee.Messages{alice: {"ONE": text(most + 1), "TWO": text(most)}},
		})
		Expect(err).NotTo(HaveOccurred())
		Expect(here.HandleEDU(ctx, far, federation.EDU{Type: federation.EDUDirectToDevice, Content: content})).To(Succeed())
		Expect(s.ToDevice(ctx, alice, "ONE", 0, s.Position(), 100)).To(HaveLen(1))
		Expect(s.ToDevice(ctx, alice, "TWO", 0, s.Position(), 100)).To(HaveLen(1))
	})

	It("of a server in no room with the user wait in a small number", func() {
		ctx := context.Background()
		here, s := open(GinkgoTB(), self, alice, net{})
		const sent = 30
		for n := range sent {
			content, err := json.Marshal(federation.DirectToDevice{Sender: zoe, Type: "m.test", MessageID: fmt.Sprint(n), Messages: e2ee.Messages{
				alice: {"*": json.RawMessage(`{"n":"` + strings.Repeat("x", 60<<10) + `"}`)},
			}})
			Expect(err).NotTo(HaveOccurred())
			Expect(here.HandleEDU(ctx, far, federation.EDU{Type: federation.EDUDirectToDevice, Content: content})).To(Succeed())
		}
		waiting, err := s.ToDevice(ctx, alice, "ONE", 0, s.Position(), 100)
		Expect(err).NotTo(HaveOccurred())
		Expect(len(waiting)).To(And(BeNumerically(">", 5), BeNumerically("<", sent-5)))
	})

	It("cross servers once, to all devices, in order", func() {
		ctx := context.Background()
		servers := net{}
		here, hereStore := open(GinkgoTB(), self, alice, servers)
		there, thereStore := open(GinkgoTB(), far, zoe, servers)
		for i := range 5 {
			for range 2 { // the same transaction twice
				Expect(here.Send(ctx, alice, "ONE", "m.test", fmt.Sprint(i), e2ee.Messages{zoe: {"*": json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}})).To(Succeed())
			}
		}
		batch, err := hereStore.Next(ctx, far, 50, 100)
		Expect(err).NotTo(HaveOccurred())
		Expect(batch.EDUs).To(HaveLen(5))
		for range 2 { // delivered twice
			for _, edu := range batch.EDUs {
				Expect(there.HandleEDU(ctx, self, edu)).To(Succeed())
			}
		}
		for _, device := range []string{"ONE", "TWO"} {
			got, err := thereStore.ToDevice(ctx, zoe, device, 0, thereStore.Position(), 100)
			Expect(err).NotTo(HaveOccurred())
			Expect(got).To(HaveLen(5))
			for i, m := range got {
				Expect(string(m.Message)).To(ContainSubstring(fmt.Sprintf(`{"n":%d}`, i)))
			}
			Expect(thereStore.ToDeviceTaken(ctx, zoe, device, got[2].Position)).To(Succeed())
			Expect(thereStore.ToDevice(ctx, zoe, device, 0, thereStore.Position(), 100)).To(HaveLen(2))
		}
		// Who sends for a user of another server is not heard.
		Expect(there.HandleEDU(ctx, "evil.test", batch.EDUs[0])).To(Succeed())
	})
})

var _ = Describe("key backups", func() {
	It("keep the better key, count, and refuse older versions", func() {
		ctx := context.Background()
		e, _ := open(GinkgoTB(), self, alice, net{})
		version, err := e.NewBackup(ctx, alice, "m.megolm_backup.v1.curve25519-aes-sha2", json.RawMessage(`{"public_key":"x"}`))
		Expect(err).NotTo(HaveOccurred())
		key := func(first int) []e2ee.BackedUp {
			return []e2ee.BackedUp{{Room: "!r:x", Session: "s", Data: json.RawMessage(fmt.Sprintf(
				`{"first_message_index":%d,"forwarded_count":0,"is_verified":false,"session_data":{}}`, first))}}
		}
		b, err := e.BackUp(ctx, alice, version, key(5))
		Expect(err).NotTo(HaveOccurred())
		Expect(b.Count).To(Equal(1))
		worse, err := e.BackUp(ctx, alice, version, key(9))
		Expect(err).NotTo(HaveOccurred())
		Expect(worse.ETag).To(Equal(b.ETag))
		better, err := e.BackUp(ctx, alice, version, key(1))
		Expect(err).NotTo(HaveOccurred())
		Expect(better.ETag).NotTo(Equal(b.ETag))
		_, err = e.NewBackup(ctx, alice, "a", json.RawMessage(`{}`))
		Expect(err).NotTo(HaveOccurred())
		_, err = e.BackUp(ctx, alice, version, key(0))
		Expect(err).To(MatchError(ContainSubstring("newest")))
		Expect(e.BackedUp(ctx, alice, version, "!r:x", "s")).To(MatchJSON(key(1)[0].Data))
		Expect(e.DeleteBackup(ctx, alice, version)).To(Succeed())
		_, err = e.Backup(ctx, alice, version)
		Expect(err).To(HaveOccurred())
		Expect(e.DeleteBackup(ctx, alice, version)).To(Succeed(), "it is gone, as was wanted")
		Expect(e.DeleteBackup(ctx, alice, "99")).NotTo(Succeed(), "there has never been one")
	})
})

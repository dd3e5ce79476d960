package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/adapter"
	"hanse/testnet/user"
)

// A server that was away for long, that is put back from a backup, or that has lost everything: doc/operating.md, "Backup and
// restore", says how, and these do as it says.
var _ = Describe("a server that comes back, of Hanse and "+peerTitle, func() {
	for _, d := range both("%s") {
		Context(d.name, func() {
			It("has what was said while it was away for long", func(ctx SpecContext) { longAway(ctx, d.direction) }, SpecTimeout(3*time.Minute))
			It("is put back from a backup, and has what it lost", func(ctx SpecContext) { putBack(ctx, d.direction) }, SpecTimeout(3*time.Minute))
		})
	}
	It("goes on with an encrypted conversation after Hanse was put back from a backup", func(ctx SpecContext) { putBackEncrypted(ctx) }, SpecTimeout(4*time.Minute))
	for _, resident := range []bool{false, true} {
		It(fmt.Sprintf("lets users of a Hanse that was made anew into their rooms, which were made there: %t", resident), func(ctx SpecContext) {
			madeAnew(ctx, resident)
		}, SpecTimeout(3*time.Minute))
	}
})

// longAway: the resident is out while much is said, more than one question or transaction has, somebody comes and somebody goes.
func longAway(ctx context.Context, d direction) {
	const missed = 120
	c := together(ctx, d, nil)
	dave, erin := (*d.visitor).newUser(ctx), (*d.visitor).newUser(ctx)
	_, err := dave.Join(ctx, c.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	c.talk(ctx)

	(*d.resident).stop()
	var want []string
	for i := range missed {
		want = append(want, fmt.Sprintf("while you were away %d", i))
		Expect(c.bob.Say(ctx, c.room, want[i])).NotTo(BeEmpty())
	}
	_, err = erin.Join(ctx, c.room)
	Expect(err).NotTo(HaveOccurred())
	Expect(dave.Leave(ctx, c.room)).To(Succeed())
	(*d.resident).start()
	_, err = c.alice.Say(ctx, c.room, "I am back") // the visitor hears from us, and so tries again at once
	Expect(err).NotTo(HaveOccurred())
	Eventually(bodies(ctx, c.alice, c.room)).WithTimeout(2 * patience).WithPolling(300 * time.Millisecond).Should(ContainElements(want))
	Eventually(members(ctx, c.alice, c.room)).WithTimeout(patience).Should(SatisfyAll(HaveKeyWithValue(erin.ID, "join"), HaveKeyWithValue(dave.ID, "leave")))
	c.talk(ctx)
}

// backUp copies the data of a server, which is stopped for that.
func (s *server) backUp() (folder string) {
	GinkgoHelper()
	s.stop()
	folder = GinkgoT().TempDir()
	copyFiles(s.orders.DataDir, folder)
	s.start()
	return folder
}

// copyFiles copies what is in a folder into another, with its modes.
func copyFiles(from, to string) {
	GinkgoHelper()
	output, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(output))
}

// putBack kills the server and starts it with the data of a backup.
func (s *server) putBack(backup string) {
	GinkgoHelper()
	s.process.Kill()
	s.empty("position") // which Hanse wants left as it is
	_ = os.Remove(filepath.Join(backup, "position"))
	copyFiles(backup, s.orders.DataDir)
	s.start()
}

// empty removes all of a stopped server's data but the files of these names.
func (s *server) empty(but ...string) {
	GinkgoHelper()
	files, err := os.ReadDir(s.orders.DataDir)
	Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		if len(but) == 0 || file.Name() != but[0] {
			Expect(os.RemoveAll(filepath.Join(s.orders.DataDir, file.Name()))).To(Succeed())
		}
	}
}

// putBack: the resident's database is put back from a backup that is some messages, a member, a topic and a device old.
func putBack(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	first := login(ctx, *d.resident, c.alice)
	known := func() []string {
		answer := object{}
		if err := c.bob.Call(ctx, "POST", clientV3("/keys/query"), nil, object{"device_keys": object{c.alice.ID: []string{}}}, &answer); err != nil {
			return []string{err.Error()}
		}
		devices, _ := deep(answer, "device_keys", c.alice.ID).(object)
		var names []string
		for name := range devices {
			names = append(names, name)
		}
		return names
	}
	Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID))
	c.talk(ctx)
	backup := (*d.resident).backUp()

	c.talk(ctx)
	second := login(ctx, *d.resident, c.alice)
	Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID, second.DeviceID))
	carol := (*d.visitor).newUser(ctx)
	_, err := carol.Join(ctx, c.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	_, err = c.alice.SetState(ctx, c.room, "m.room.topic", "", object{"topic": "of the time that is lost"})
	Expect(err).NotTo(HaveOccurred())
	c.agree(ctx)
	lost, err := bodies(ctx, c.bob, c.room)()
	Expect(err).NotTo(HaveOccurred())

	(*d.resident).putBack(backup)
	hasAll := func() {
		GinkgoHelper()
		Eventually(bodies(ctx, c.alice, c.room)).WithTimeout(patience).Should(ContainElements(lost))
		Eventually(topic(ctx, c.alice, c.room)).WithTimeout(patience).Should(Equal("of the time that is lost"))
		Expect(members(ctx, c.alice, c.room)()).To(HaveKeyWithValue(carol.ID, "join"))
	}
	if *d.resident == hanse { // others ask only when somebody speaks, and don't tell of devices anew
		hasAll()
		Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID), "the device of the time that is lost is gone")
	}
	c.talk(ctx)
	hasAll()
	third := login(ctx, *d.resident, c.alice)
	Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID, third.DeviceID))
}

// putBackEncrypted: clients that were there all the time read each other before and after.
func putBackEncrypted(ctx context.Context) {
	c := together(ctx, direction{&hanse, &peer}, object{"initial_state": []any{object{
		"type": "m.room.encryption", "state_key": "", "content": object{"algorithm": "m.megolm.v1.aes-sha2"},
	}}})
	alice, bob := newEncrypting(ctx, c.alice, password), newEncrypting(ctx, c.bob, password)
	both := func(text string) {
		GinkgoHelper()
		alice.say(ctx, c.room, text+" of alice", bob)
		bob.say(ctx, c.room, text+" of bob", alice)
	}
	alice.reach(ctx, c.room, bob)
	both("before")
	backup := hanse.backUp()
	both("in the time that is lost")
	hanse.putBack(backup)
	both("after")
	// A device that comes then has alice's device's keys, and new one-time keys.
	fresh := newEncrypting(ctx, newDevice(ctx, peer, c.bob), "")
	alice.reach(ctx, c.room, fresh)
	fresh.say(ctx, c.room, "I can", alice)
}

// madeAnew: a third server has lost its database and its key. The peer knows the old key; with that listed, its user comes into the
// room of before again.
func madeAnew(ctx context.Context, resident bool) {
	d := direction{&anew, &peer}
	if !resident {
		d = direction{&peer, &anew}
	}
	anew.start()
	DeferCleanup(func() {
		anew.process.Kill()
		anew.empty()
	})
	c := together(ctx, d, nil)
	ours, theirs := &c.bob, c.alice
	if resident {
		ours, theirs = &c.alice, c.bob
	}
	c.talk(ctx)
	keyFile := filepath.Join(anew.orders.DataDir, "signing.key")
	written, err := os.ReadFile(keyFile)
	Expect(err).NotTo(HaveOccurred())
	lostKey := strings.Fields(string(written))[1]

	anew.process.Kill()
	anew.empty()
	anew.start()
	_, err = theirs.Say(ctx, c.room, "are you there?")
	Expect(err).NotTo(HaveOccurred())
	again := user.New(anew.orders.ClientURL())
	DeferCleanup(again.Close)
	name, err := id.ParseUserID((*ours).ID)
	Expect(err).NotTo(HaveOccurred())
	Expect(again.Register(ctx, name.Localpart(), password, secret)).To(Succeed())
	_, err = again.Join(ctx, c.room, peer.orders.ServerName)
	Expect(err).To(HaveOccurred(), "what nobody can check any more is believed")
	Expect(adapter.LogTail(anew.process.LogFile(), 0, 1<<20)).To(ContainSubstring("see \\\"Everything is lost\\\" in doc/operating.md"))

	anew.stop()
	line := fmt.Sprintf("ed25519 %s %d %s\n", lostKey, time.Now().UnixMilli(), keyAsKnown(ctx, peer, anew, "ed25519:"+lostKey))
	written, err = os.ReadFile(keyFile)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(keyFile, append(written, line...), 0o600)).To(Succeed())
	anew.start()
	_, err = again.Join(ctx, c.room, peer.orders.ServerName)
	Expect(err).NotTo(HaveOccurred())
	*ours = again
	c.talk(ctx)
}

// keyAsKnown is the public half of a key of another server, as one knows it.
func keyAsKnown(ctx context.Context, by, of *server, keyID string) string {
	GinkgoHelper()
	question, err := json.Marshal(object{"server_keys": object{of.orders.ServerName: object{keyID: object{"minimum_valid_until_ts": 0}}}})
	Expect(err).NotTo(HaveOccurred())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+by.orders.ServerName+"/_matrix/key/v2/query", bytes.NewReader(question))
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	var known struct {
		Documents []struct {
			Keys map[string]struct{ Key string } `json:"verify_keys"`
			Old  map[string]struct{ Key string } `json:"old_verify_keys"`
		} `json:"server_keys"`
	}
	Expect(json.NewDecoder(response.Body).Decode(&known)).To(Succeed())
	for _, document := range known.Documents {
		for _, keys := range []map[string]struct{ Key string }{document.Keys, document.Old} {
			if key, found := keys[keyID]; found {
				return key.Key
			}
		}
	}
	Fail(by.kind + " doesn't know " + keyID)
	return ""
}

package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const (
	devicesSection  = "server-server-api#device-management"
	keysSection     = "server-server-api#end-to-end-encryption"
	toDeviceSection = "server-server-api#send-to-device-messaging"
)

// deviceKeys are the keys of a device, as its client uploads them.
func deviceKeys(userID, deviceID, key string) map[string]any {
	return map[string]any{
		"user_id": userID, "device_id": deviceID, "algorithms": []any{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys":       map[string]any{"curve25519:" + deviceID: key, "ed25519:" + deviceID: key},
		"signatures": map[string]any{userID: map[string]any{"ed25519:" + deviceID: "dSO80A01XiigH3uBiDVx/EjzaoycHcjq9lfQX0uWsqxl2giMIiSPR8a4d291W1ihKJL/a+myXS367WT6NAIcBA"}},
	}
}

const someKey = "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI"

// upload uploads a user's device keys and one-time keys.
func upload(ctx context.Context, u *user.User, key string) {
	GinkgoHelper()
	body := map[string]any{
		"device_keys":   deviceKeys(u.ID, u.DeviceID, key),
		"one_time_keys": map[string]any{"signed_curve25519:AAAAAQ": map[string]any{"key": key, "signatures": map[string]any{u.ID: map[string]any{"ed25519:" + u.DeviceID: "x"}}}},
	}
	Expect(u.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/upload", nil, body, nil)).To(Succeed())
}

// newcomer is a new user here who is in a room with a peer's.
func newcomer(ctx context.Context) (*user.User, meeting) {
	GinkgoHelper()
	carol := sut.newUser(ctx)
	m := meetAt(ctx, sut, carol)
	return carol, m
}

// sync is a user's first sync: devices and messages to devices.
type deviceSync struct {
	NextBatch string `json:"next_batch"`
	ToDevice  struct {
		Events []json.RawMessage `json:"events"`
	} `json:"to_device"`
	DeviceLists struct {
		Changed []string `json:"changed"`
		Left    []string `json:"left"`
	} `json:"device_lists"`
}

func syncDevices(ctx context.Context, u *user.User, since string) deviceSync {
	GinkgoHelper()
	parameters := query("timeout", "0", "filter", freshFilter(""))
	if since != "" {
		parameters.Set("since", since)
	}
	var answer deviceSync
	Expect(u.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", parameters, nil, &answer)).To(Succeed())
	return answer
}

// theirKeys is what a user here gets as the keys of a peer's user.
func theirKeys(ctx context.Context, u *user.User, of id.UserID) func() (string, error) {
	return func() (string, error) {
		var answer json.RawMessage
		err := u.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/query", nil, map[string]any{"device_keys": map[string]any{string(of): []any{}}}, &answer)
		return string(answer), err
	}
}

func edus(p *peer.Peer, eduType string) func() string {
	return func() string {
		text := ""
		for _, edu := range p.EDUs(eduType) {
			text += string(edu.Content)
		}
		return text
	}
}

var _ = Describe("Devices and their keys", Label("s2s:devices"), func() {
	It("user/devices tells a user's devices and their keys",
		says("server-server-api#get_matrixfederationv1userdevicesuserid", "Gets information on all of the user's devices."),
		says(devicesSection, "stream_id: a unique ID for a given user_id which describes the current device list."), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			upload(ctx, carol, someKey)
			var answer struct {
				UserID   string `json:"user_id"`
				StreamID int64  `json:"stream_id"`
				Devices  []struct {
					DeviceID string `json:"device_id"`
					Keys     struct {
						Keys map[string]string `json:"keys"`
					} `json:"keys"`
				} `json:"devices"`
			}
			Expect(m.ask(ctx, http.MethodGet, "user/devices/"+url.PathEscape(carol.ID), nil, &answer)).To(Equal(http.StatusOK))
			Expect(answer.UserID).To(Equal(carol.ID))
			Expect(answer.Devices).To(HaveLen(1))
			Expect(answer.Devices[0].DeviceID).To(Equal(carol.DeviceID))
			Expect(answer.Devices[0].Keys.Keys).To(HaveKeyWithValue("curve25519:"+carol.DeviceID, someKey))
		})

	It("user/keys/query tells the keys of users here, and nothing of others",
		says("server-server-api#post_matrixfederationv1userkeysquery", "Returns the current devices and identity keys for the given users."), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			upload(ctx, carol, someKey)
			var answer struct {
				DeviceKeys map[string]map[string]json.RawMessage `json:"device_keys"`
			}
			body := map[string]any{"device_keys": map[string]any{carol.ID: []any{}, string(m.user): []any{}}}
			Expect(m.ask(ctx, http.MethodPost, "user/keys/query", body, &answer)).To(BeNumerically("<", 500))
			Expect(m.ask(ctx, http.MethodPost, "user/keys/query", map[string]any{"device_keys": map[string]any{carol.ID: []any{}}}, &answer)).To(Equal(http.StatusOK))
			Expect(answer.DeviceKeys[carol.ID]).To(HaveKey(carol.DeviceID))
			Expect(string(answer.DeviceKeys[carol.ID][carol.DeviceID])).To(ContainSubstring(someKey))
			Expect(answer.DeviceKeys[string(m.user)]).To(BeEmpty())
		})

	It("a one-time key is given once",
		says("server-server-api#post_matrixfederationv1userkeysclaim", "Claims one-time keys for use in pre-key messages."), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			upload(ctx, carol, someKey)
			claim := func() string {
				GinkgoHelper()
				var answer json.RawMessage
				body := map[string]any{"one_time_keys": map[string]any{carol.ID: map[string]any{carol.DeviceID: "signed_curve25519"}}}
				Expect(m.ask(ctx, http.MethodPost, "user/keys/claim", body, &answer)).To(Equal(http.StatusOK))
				return string(answer)
			}
			Expect(claim()).To(ContainSubstring("signed_curve25519:AAAAAQ"))
			Expect(claim()).NotTo(ContainSubstring("signed_curve25519:AAAAAQ"))
		})

	It("a change of devices is told to the servers in the user's rooms",
		says(devicesSection, "Servers must send m.device_list_update EDUs to all the servers who share a room with a given local user, and must be sent whenever that user's device list changes"), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			upload(ctx, carol, someKey)
			Eventually(edus(m.peer, "m.device_list_update")).Should(And(ContainSubstring(carol.ID), ContainSubstring(carol.DeviceID), ContainSubstring("stream_id")))
		})

	It("a change of devices that was told while the other server was down is told again",
		says(devicesSection, "Servers must send m.device_list_update EDUs to all the servers who share a room with a given local user"), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			up := m.peer.On("send", peer.Fail(http.StatusServiceUnavailable, "M_UNKNOWN"))
			upload(ctx, carol, someKey)
			Eventually(func() []peer.Request { return m.peer.Requests("send") }).ShouldNot(BeEmpty())
			up()
			m.poke(ctx, sut)
			Eventually(edus(m.peer, "m.device_list_update")).Should(ContainSubstring(carol.DeviceID))
		})

	It("another server's devices are asked for, and a change of them is seen",
		says(devicesSection, "If a server receives an EDU which refers to a prev_id it does not recognise, it must resynchronise its list by calling the /user/keys/query API and resume the process."), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			key := someKey
			answer := func() string {
				return fmt.Sprintf(`{"user_id":%q,"stream_id":5,"devices":[{"device_id":"BOBS","keys":%s}],"device_keys":{%q:{"BOBS":%s}}}`,
					m.user, encode(deviceKeys(string(m.user), "BOBS", key)), m.user, encode(deviceKeys(string(m.user), "BOBS", key)))
			}
			for _, endpoint := range []string{"user_devices", "keys_query"} {
				m.peer.On(endpoint, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					peer.Answer(http.StatusOK, answer())(w, r, next)
				})
			}
			before := syncDevices(ctx, carol, "").NextBatch
			Eventually(theirKeys(ctx, carol, m.user)).Should(ContainSubstring(someKey))
			key = "0" + someKey[1:]
			Expect(m.peer.SendEDU(ctx, sut.name, "m.device_list_update", map[string]any{
				"user_id": m.user, "device_id": "BOBS", "stream_id": 9, "prev_id": []any{8}, "keys": deviceKeys(string(m.user), "BOBS", key),
			})).To(Succeed())
			Eventually(theirKeys(ctx, carol, m.user)).Should(ContainSubstring(key))
			Eventually(func() []string { return syncDevices(ctx, carol, before).DeviceLists.Changed }).Should(ContainElement(string(m.user)))
		})

	It("a user with whom no encrypted room is shared any more is told of as one who left",
		says("client-server-api#e2e-extensions-to-sync", "left: List of users with whom we do not share any encrypted rooms anymore since the previous sync response."), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			encrypted, err := carol.SetState(ctx, string(m.ID), "m.room.encryption", "", map[string]any{"algorithm": "m.megolm.v1.aes-sha2"})
			Expect(err).NotTo(HaveOccurred())
			m.arrives(id.EventID(encrypted))
			before := syncDevices(ctx, carol, "").NextBatch
			Expect(syncDevices(ctx, carol, before).DeviceLists.Left).NotTo(ContainElement(string(m.user)))
			leave, err := m.Put(peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": "leave"}))
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, leave.JSON())
			Eventually(func() []string { return syncDevices(ctx, carol, before).DeviceLists.Left }).Should(ContainElement(string(m.user)))
		})

	It("a change of devices of another server's user than the sender's is not believed",
		follows(devicesSection, "the EDU tells of the sending server's own users"), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			liar := newPeer()
			m.peer.On("user_devices", peer.Answer(http.StatusOK, fmt.Sprintf(`{"user_id":%q,"stream_id":5,"devices":[{"device_id":"BOBS","keys":%s}]}`, m.user, encode(deviceKeys(string(m.user), "BOBS", someKey)))))
			m.peer.On("keys_query", peer.Answer(http.StatusOK, fmt.Sprintf(`{"device_keys":{%q:{"BOBS":%s}}}`, m.user, encode(deviceKeys(string(m.user), "BOBS", someKey)))))
			Eventually(theirKeys(ctx, carol, m.user)).Should(ContainSubstring(someKey))
			Expect(liar.SendEDU(ctx, sut.name, "m.device_list_update", map[string]any{
				"user_id": m.user, "device_id": "EVIL", "stream_id": 6, "prev_id": []any{5}, "keys": deviceKeys(string(m.user), "EVIL", someKey),
			})).To(Succeed())
			Consistently(theirKeys(ctx, carol, m.user)).ShouldNot(ContainSubstring("EVIL"))
		})
})

var _ = Describe("Messages to devices", Label("s2s:to-device"), func() {
	direct := func(m meeting, to *user.User, messageID, text string) map[string]any {
		return map[string]any{
			"sender": m.user, "type": "org.example.note", "message_id": messageID,
			"messages": map[string]any{to.ID: map[string]any{to.DeviceID: map[string]any{"text": text}}},
		}
	}

	It("come from another server, once",
		says(toDeviceSection, "message_id: Unique ID for the message, used for idempotence."), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			for range 2 {
				Expect(m.peer.SendEDU(ctx, sut.name, "m.direct_to_device", direct(m, carol, "one", "hello"))).To(Succeed())
			}
			var got deviceSync
			Eventually(func() int { got = syncDevices(ctx, carol, ""); return len(got.ToDevice.Events) }).Should(Equal(1))
			Expect(string(got.ToDevice.Events[0])).To(And(ContainSubstring("org.example.note"), ContainSubstring(string(m.user)), ContainSubstring("hello")))
			Expect(syncDevices(ctx, carol, got.NextBatch).ToDevice.Events).To(BeEmpty(), "what the client has seen comes again")
		})

	It("in the name of another server's user are not taken",
		follows(toDeviceSection, "sender is a user of the sending server"), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			forged := direct(m, carol, "two", "forged")
			forged["sender"] = "@somebody:elsewhere.test"
			Expect(m.peer.SendEDU(ctx, sut.name, "m.direct_to_device", forged)).To(Succeed())
			Expect(m.peer.SendEDU(ctx, sut.name, "m.direct_to_device", direct(m, carol, "three", "right"))).To(Succeed())
			Eventually(func() int { return len(syncDevices(ctx, carol, "").ToDevice.Events) }).Should(Equal(1))
		})

	It("go to another server, after an outage too, in order",
		follows(toDeviceSection, "Each message … is sent to the remote server"), func(ctx SpecContext) {
			carol, m := newcomer(ctx)
			send := func(txn, text string) {
				GinkgoHelper()
				body := map[string]any{"messages": map[string]any{string(m.user): map[string]any{"BOBS": map[string]any{"text": text}}}}
				Expect(carol.Call(ctx, http.MethodPut, "/_matrix/client/v3/sendToDevice/org.example.note/"+txn, nil, body, nil)).To(Succeed())
			}
			send("a", "before")
			Eventually(edus(m.peer, "m.direct_to_device")).Should(And(ContainSubstring("before"), ContainSubstring(carol.ID), ContainSubstring("message_id")))
			up := m.peer.On("send", peer.Fail(http.StatusServiceUnavailable, "M_UNKNOWN"))
			failed := len(m.peer.Requests("send"))
			send("b", "during-1")
			send("c", "during-2")
			Eventually(func() int { return len(m.peer.Requests("send")) }).Should(BeNumerically(">", failed))
			up()
			m.poke(ctx, sut)
			Eventually(edus(m.peer, "m.direct_to_device")).Should(MatchRegexp("before.*during-1.*during-2"))
		})
})

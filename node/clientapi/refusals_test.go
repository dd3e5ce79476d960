package clientapi

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// Errors that the definitions of operations name, most of which no other spec sees.
var _ = Describe("refusals", func() {
	It("are those that the definitions name", func() {
		t := newTour()
		room := t.alice.room(obj{"preset": "private_chat"})
		said := fine(t.alice.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "tea"})).text("event_id")
		in, bobs, backups := "/rooms/"+esc(room), "/user/"+esc(t.bob.id), "/room_keys/keys/"+esc(room)
		version := fine(t.alice.post("/room_keys/version", backup())).text("version")
		fine(t.alice.post("/room_keys/version", backup()))
		fine(t.bob.put(bobs+"/account_data/m.invite_permission_config", obj{"default_action": "block"}))
		gone := t.register("gone")
		fine(gone.post("/account/deactivate", obj{"auth": obj{
			"type": "m.login.password", "password": "secret of gone", "identifier": obj{"type": "m.id.user", "user": "gone"},
		}}))

		var wrong []string
		for _, r := range []struct {
			got    answered
			status int
			code   string
		}{
			{t.alice.put(bobs+"/account_data/x", obj{}), 403, "M_FORBIDDEN"},
			{t.alice.get(bobs + "/account_data/x"), 403, "M_FORBIDDEN"},
			{t.alice.put(bobs+"/rooms/"+esc(room)+"/account_data/x", obj{}), 403, "M_FORBIDDEN"},
			{t.alice.get(bobs + "/rooms/" + esc(room) + "/account_data/x"), 403, "M_FORBIDDEN"},
			{t.bob.put(bobs+"/rooms/"+esc(room)+"/account_data/x", "nonsense"), 400, "M_NOT_JSON"},
			{t.bob.put(bobs+"/rooms/"+esc(room)+"/account_data/x", []any{}), 400, "M_BAD_JSON"},
			{t.bob.get(bobs + "/rooms/" + esc(room) + "/account_data/x"), 404, "M_NOT_FOUND"},
			{t.bob.get(bobs + "/filter/77"), 404, "M_NOT_FOUND"},

			{t.bob.get(in + "/event/" + esc(said)), 404, "M_NOT_FOUND"},
			{t.alice.get(in + "/event/$nothing"), 404, "M_NOT_FOUND"},
			{t.bob.get(in + "/context/" + esc(said)), 403, "M_FORBIDDEN"},
			{t.bob.get(in + "/messages?dir=b"), 403, "M_FORBIDDEN"},
			{t.bob.get(in + "/state"), 403, "M_FORBIDDEN"},
			{t.bob.get(in + "/state/m.room.topic"), 403, "M_FORBIDDEN"},
			{t.alice.get(in + "/state/m.room.topic"), 404, "M_NOT_FOUND"},
			{t.alice.get(in + "/state/m.room.topic?format=nonsense"), 400, "M_INVALID_PARAM"},
			{t.bob.get(in + "/members"), 403, "M_FORBIDDEN"},
			{t.bob.get(in + "/joined_members"), 403, "M_FORBIDDEN"},
			{t.bob.get("/_matrix/client/v1" + in + "/hierarchy"), 403, "M_FORBIDDEN"},
			{t.bob.get("/_matrix/client/v1" + in + "/threads"), 403, "M_FORBIDDEN"},
			{t.bob.get("/_matrix/client/v1" + in + "/relations/" + esc(said)), 404, "M_NOT_FOUND"},
			{t.bob.get("/_matrix/client/v1" + in + "/timestamp_to_event?dir=f&ts=1"), 403, "M_FORBIDDEN"},
			{t.alice.get("/_matrix/client/v1" + in + "/timestamp_to_event?dir=b&ts=1"), 404, "M_NOT_FOUND"},
			{t.bob.get("/_matrix/client/v1/room_summary/" + esc(room)), 404, "M_NOT_FOUND"},
			{t.bob.get(in + "/aliases"), 403, "M_FORBIDDEN"},
			{t.bob.get(in + "/initialSync"), 403, "M_FORBIDDEN"},
			{t.bob.post(in+"/join", obj{}), 403, "M_FORBIDDEN"},
			{t.bob.post("/join/"+esc(room), obj{}), 403, "M_FORBIDDEN"},
			{t.bob.post("/knock/"+esc(room), obj{}), 403, "M_FORBIDDEN"},
			{t.bob.post("/join/"+esc("#no:hanse.test"), obj{}), 404, "M_NOT_FOUND"},
			{t.bob.post("/knock/"+esc("#no:hanse.test"), obj{}), 404, "M_NOT_FOUND"},
			{t.bob.post(in+"/invite", obj{"user_id": t.root.id}), 403, "M_FORBIDDEN"},
			{t.bob.put(in+"/send/m.room.message/1", obj{}), 403, "M_FORBIDDEN"},
			{t.bob.put(in+"/redact/"+esc(said)+"/1", obj{}), 403, "M_FORBIDDEN"},
			{t.bob.put(in+"/typing/"+esc(t.bob.id), obj{"typing": true}), 403, "M_FORBIDDEN"},
			{t.bob.post(in+"/upgrade", obj{"new_version": "11"}), 403, "M_FORBIDDEN"},
			{t.alice.post(in+"/forget", obj{}), 400, "M_UNKNOWN"},
			{t.alice.post(in+"/invite", obj{"user_id": t.bob.id}), 403, "M_INVITE_BLOCKED"},
			{t.alice.post("/createRoom", obj{"invite": []string{t.bob.id}}), 403, "M_INVITE_BLOCKED"},
			{t.alice.put(in+"/state/m.room.member/"+esc(t.bob.id), obj{"membership": "invite"}), 403, "M_INVITE_BLOCKED"},
			{t.alice.put(in+"/state/m.room.canonical_alias", obj{"alias": "#no:hanse.test"}), 400, "M_BAD_ALIAS"},
			{t.alice.put(in+"/state/m.room.canonical_alias", obj{"alias": "no"}), 400, "M_INVALID_PARAM"},
			{t.alice.get("/directory/list/room/" + esc("!no:hanse.test")), 404, "M_NOT_FOUND"},
			{t.alice.put("/directory/list/room/"+esc("!no:hanse.test"), obj{"visibility": "public"}), 404, "M_NOT_FOUND"},
			{t.alice.get("/directory/room/nonsense"), 400, "M_INVALID_PARAM"},
			{t.alice.put("/directory/room/nonsense", obj{"room_id": room}), 400, "M_INVALID_PARAM"},
			{t.alice.del("/directory/room/"+esc("#no:hanse.test"), nil), 404, "M_NOT_FOUND"},

			{t.alice.get(backups + "?version=77"), 404, "M_NOT_FOUND"},
			{t.alice.get("/room_keys/keys?version=77"), 404, "M_NOT_FOUND"},
			{t.alice.get(backups + "/x?version=" + version), 404, "M_NOT_FOUND"},
			{t.alice.del(backups+"/x?version=77", nil), 404, "M_NOT_FOUND"},
			{t.alice.del(backups+"?version=77", nil), 404, "M_NOT_FOUND"},
			{t.alice.del("/room_keys/keys?version=77", nil), 404, "M_NOT_FOUND"},
			{t.alice.put(backups+"/x?version=77", backedUpKey()), 404, "M_NOT_FOUND"},
			{t.alice.put(backups+"?version=77", obj{"sessions": obj{}}), 404, "M_NOT_FOUND"},
			{t.alice.put("/room_keys/keys?version=77", obj{"rooms": obj{}}), 404, "M_NOT_FOUND"},
			{t.alice.put(backups+"/x?version="+version, backedUpKey()), 403, "M_WRONG_ROOM_KEYS_VERSION"},
			{t.alice.put(backups+"?version="+version, obj{"sessions": obj{"x": backedUpKey()}}), 403, "M_WRONG_ROOM_KEYS_VERSION"},
			{t.alice.put("/room_keys/keys?version="+version, obj{"rooms": obj{room: obj{"sessions": obj{"x": backedUpKey()}}}}), 403, "M_WRONG_ROOM_KEYS_VERSION"},
			{t.alice.put("/room_keys/version/77", backup()), 404, "M_NOT_FOUND"},
			{t.alice.del("/room_keys/version/77", nil), 404, "M_NOT_FOUND"},

			{t.alice.post("/keys/device_signing/upload", obj{"self_signing_key": signingKey(t.alice, "self_signing", "A")}), 400, "M_MISSING_PARAM"},
			{t.alice.post("/keys/device_signing/upload", obj{
				"master_key": signingKey(t.alice, "master", "B"), "self_signing_key": signingKey(t.alice, "self_signing", "A"),
			}), 400, "M_INVALID_SIGNATURE"},
			{t.alice.get("/devices/none"), 404, "M_NOT_FOUND"},
			{t.alice.put("/devices/none", obj{}), 404, "M_NOT_FOUND"},

			{t.nobody().post("/login", passwordOf("gone")), 403, "M_FORBIDDEN"}, // nobody's password is known any more

			{t.alice.put("/pushrules/global/override/a?before=none", obj{"actions": []any{}}), 400, "M_UNKNOWN"},
			{t.alice.put("/pushrules/global/override/a?after=.m.rule.master", obj{"actions": []any{}}), 400, "M_UNKNOWN"},
			{t.alice.put("/pushrules/global/override/none/actions", obj{"actions": []any{}}), 404, "M_NOT_FOUND"},
			{t.alice.put("/pushrules/global/override/none/enabled", obj{"enabled": true}), 404, "M_NOT_FOUND"},
			{t.alice.get("/pushrules/global/override/none/actions"), 404, "M_NOT_FOUND"},
			{t.alice.get("/pushrules/global/override/none/enabled"), 404, "M_NOT_FOUND"},
			{t.alice.del("/pushrules/global/override/none", nil), 404, "M_NOT_FOUND"},

			{t.alice.get("/thirdparty/location?alias=" + esc("#x:hanse.test")), 404, "M_NOT_FOUND"},
			{t.alice.get("/thirdparty/user?userid=" + esc(t.bob.id)), 404, "M_NOT_FOUND"},
			{t.alice.get("/profile/" + esc("@no:hanse.test")), 404, "M_NOT_FOUND"},
			{t.alice.get("/profile/" + esc(t.bob.id) + "/x.y"), 404, "M_NOT_FOUND"},
			{t.alice.put("/profile/"+esc(t.bob.id)+"/displayname", obj{"displayname": "x"}), 403, "M_FORBIDDEN"},
			{t.alice.del("/profile/"+esc(t.bob.id)+"/displayname", nil), 403, "M_FORBIDDEN"},
			{t.alice.put("/presence/"+esc(t.bob.id)+"/status", obj{"presence": "online"}), 403, "M_FORBIDDEN"},
			{t.alice.put(bobs+"/rooms/"+esc(room)+"/tags/u.x", obj{}), 403, "M_FORBIDDEN"},
			{t.bob.post(in+"/report/"+esc(said), obj{"reason": "x"}), 404, "M_NOT_FOUND"},
			{t.bob.post("/users/"+esc("@no:hanse.test")+"/report", obj{"reason": "x"}), 404, "M_NOT_FOUND"},
		} {
			wrong = append(wrong, InterceptGomegaFailures(func() { refused(r.got, r.status, r.code) })...)
		}
		Expect(wrong).To(BeEmpty())
	})
})

// signingKey is a cross-signing key without a signature.
func signingKey(p *person, usage, letter string) obj {
	key := "nqOvzeuGWT/sRx3h7+MHoInYj3Uk2LD/unI9kDYcHw" + letter
	return obj{"user_id": p.id, "usage": []string{usage}, "keys": obj{"ed25519:" + key: key}}
}

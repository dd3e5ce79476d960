package keys

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// lineOf is the line of a key with its private half.
func lineOf(k SigningKey) string {
	return fmt.Sprintf("ed25519 %s %s\n", k.ID.Name(), signedjson.EncodeBase64(k.Private.Seed()))
}

func TestRotate(t *testing.T) {
	folder := t.TempDir()
	path, link := filepath.Join(folder, "real.key"), filepath.Join(folder, "signing.key")
	first, second, eldest := signingKey("1", 1), signingKey("2", 2), signingKey("0", 3)
	text := "# ours\n" + lineOf(first) + "\n" + lineOf(second) + "ed25519 0 5 " + signedjson.EncodeBase64(eldest.Public()) + "\n# the end, without a line's end"
	if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.key", link); err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(1_800_000_000_000)
	file, err := Rotate(link, now)
	if err != nil {
		t.Fatal(err)
	}
	if !file.Lists(file.Current.ID) || file.Current.ID == first.ID || len(file.Others) != 0 || len(file.Old) != 3 {
		t.Fatalf("%+v", file)
	}
	for keyID, want := range map[id.KeyID]OldVerifyKey{
		first.ID: {first.Public(), now.UnixMilli()}, second.ID: {second.Public(), now.UnixMilli()}, eldest.ID: {eldest.Public(), 5},
	} {
		if got := file.Old[keyID]; !got.Key.Equal(want.Key) || got.ExpiredTS != want.ExpiredTS {
			t.Errorf("%s: %+v", keyID, got)
		}
	}
	written, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(written), "# ours\n") || !strings.HasSuffix(string(written), "\n# the end, without a line's end") {
		t.Errorf("%v: %s", err, written)
	}
	for _, k := range []SigningKey{first, second} {
		if strings.Contains(string(written), signedjson.EncodeBase64(k.Private.Seed())) {
			t.Errorf("the private half of %s is still there", k.ID)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v, %v", info.Mode(), err)
	}
	again, err := Rotate(path, now.Add(time.Hour))
	if err != nil || len(again.Old) != 4 || again.Old[file.Current.ID].ExpiredTS != now.Add(time.Hour).UnixMilli() {
		t.Errorf("%v %+v", err, again)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestRotateRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	if _, err := Rotate(path, time.Now()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	text := lineOf(signingKey("now", 1))
	for i := range maxDocumentKeys - 1 {
		text += fmt.Sprintf("ed25519 old%d 5 %s\n", i, signedjson.EncodeBase64(signingKey("", byte(i)).Public()))
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(path, time.Now()); err == nil || !strings.Contains(err.Error(), "128 keys") {
		t.Error(err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != text {
		t.Errorf("the file is changed: %v", err)
	}
}

// TestPeersTakeARotation: one that has the old document takes what the new key signs, and nothing of the old key from after the
// change; one that comes later takes what the old key signed before it.
func TestPeersTakeARotation(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		path := filepath.Join(t.TempDir(), "signing.key")
		before, err := LoadOrCreate(path)
		if err != nil {
			t.Fatal(err)
		}
		a := w.peers["a.test"]
		a.keys = []SigningKey{before.Current}
		at := time.Now()
		w.expect(t, "before", request("a.test", before.Current), good)
		time.Sleep(time.Minute)
		after, err := Rotate(path, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		a.keys, a.old = []SigningKey{after.Current}, after.Old
		time.Sleep(time.Minute)
		w.expect(t, "a request by the new key", request("a.test", after.Current), good)
		w.expect(t, "an event by the new key", request("a.test", after.Current).at(time.Now()), good)
		w.expect(t, "an event by the old key, of before", request("a.test", before.Current).at(at), good)
		w.expect(t, "an event by the old key, of after", request("a.test", before.Current).at(time.Now()), Expired)
		w.expect(t, "a request by the old key", request("a.test", before.Current), Expired)
		late := plain()
		late.peers["a.test"].keys, late.peers["a.test"].old = a.keys, a.old
		late.expect(t, "late: an event by the old key, of before", request("a.test", before.Current).at(at), good)
		late.expect(t, "late: an event by the old key, of after", request("a.test", before.Current).at(time.Now()), Expired)
	})
}

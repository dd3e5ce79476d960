package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"hanse/federation/signedjson"
)

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	if _, err := LoadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading what isn't there: %v", err)
	}
	first, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^ed25519:a_[A-Z2-7]{6}$`).MatchString(string(first.Current.ID)) || len(first.Others) > 0 || len(first.Old) > 0 {
		t.Errorf("a new file has %v", first.Current.ID)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := LoadOrCreate(path)
	if err != nil || again.Current.ID != first.Current.ID || !again.Current.Private.Equal(first.Current.Private) {
		t.Errorf("read again: %v, %v", again, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestCreateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	var group sync.WaitGroup
	files := make([]*KeyFile, 8)
	for i := range files {
		group.Go(func() {
			var err error
			if files[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, f := range files {
		if f == nil || f.Current.ID != files[0].Current.ID {
			t.Fatal("two processes have different keys")
		}
	}
}

func TestKeyFilePermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	if _, err := LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o644: false, 0o620: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreate(path)
		if (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: the error doesn't say what to do: %v", mode, err)
		}
	}
	if _, err := LoadOrCreate(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := LoadOrCreate(filepath.Join(t.TempDir(), "no", "signing.key")); err == nil {
		t.Error("a folder that isn't there")
	}
}

func TestParseFile(t *testing.T) {
	seed := func(n byte) string { return signedjson.EncodeBase64(signingKey("x", n).Private.Seed()) }
	f, err := ParseFile("# our keys\n\n  ed25519 a_1 " + seed(1) + "\r\ned25519 a_2\t" + seed(2) + "=\ned25519 0 1576767829750 " +
		signedjson.EncodeBase64(signingKey("0", 3).Public()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Current.ID != "ed25519:a_1" || !f.Current.Private.Equal(signingKey("", 1).Private) ||
		len(f.Others) != 1 || f.Others[0].ID != "ed25519:a_2" ||
		len(f.Old) != 1 || f.Old["ed25519:0"].ExpiredTS != 1576767829750 {
		t.Errorf("got %+v", f)
	}
	for text, want := range map[string]string{
		"":                            "no signing key",
		"# nothing":                   "no signing key",
		"ed25519 0 1 " + seed(1):      "no signing key",
		"ed25519 a_1":                 "line 1: is neither",
		"\n\ned25519 a b c d":         "line 3: is neither",
		"curve25519 a_1 " + seed(1):   `line 1: the algorithm "curve25519" is not known`,
		"ed25519 a!1 " + seed(1):      "line 1: ",
		"ed25519 a_1 " + seed(1)[:40]: "line 1: the key ed25519:a_1 is not 32 bytes in Base64",
		"ed25519 a_1 ////!" + seed(1): "line 1: the key ed25519:a_1 is not 32 bytes in Base64",
		"ed25519 a_1 soon " + seed(1): "line 1: the time",
		"ed25519 a_1 -1 " + seed(1):   "line 1: the time",
		strings.Repeat("#", 100<<10):  "has more than",
		"ed25519 a " + seed(1) + "\ned25519 a " + seed(2):   "line 2: the key ed25519:a is there twice",
		"ed25519 a " + seed(1) + "\ned25519 a 1 " + seed(2): "line 2: the key ed25519:a is there twice",
	} {
		_, err := ParseFile(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), seed(1)[:20]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add("ed25519 a_1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\ned25519 0 1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseFile(text)
		if err != nil {
			return
		}
		if k.Current.ID == "" || len(k.Current.Private) == 0 {
			t.Error("no current key")
		}
	})
}

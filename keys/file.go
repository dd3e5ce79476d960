package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// KeyFile is what a signing key file holds. Immutable.
//
// The file has a key a line, in the format of deployed servers:
//
//	# what signs (the first such line) and what is published as valid (the others)
//	ed25519 a_UqmI <seed, 32 bytes in Base64>
//	# a key that was used until the given time (milliseconds since 1970): only its public half is kept
//	ed25519 a_old 1576767829750 <public key, 32 bytes in Base64>
//
// Empty lines and lines that begin with # are skipped.
type KeyFile struct {
	Current SigningKey                // signs everything we send
	Others  []SigningKey              // further keys published as valid, for instance one announced before its use
	Old     map[id.KeyID]OldVerifyKey // keys out of use, published as old
}

// LoadOrCreate reads the signing key file at path, or makes one with a fresh key, readable by its owner only.
func LoadOrCreate(path string) (*KeyFile, error) {
	f, err := LoadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	key, err := Generate()
	if err != nil {
		return nil, err
	}
	if err := create(path, fmt.Sprintf("%s %s %s\n", signedjson.Algorithm, key.ID.Name(), signedjson.EncodeBase64(key.Private.Seed()))); err != nil {
		return nil, fmt.Errorf("signing key file %s: can't be written: %w", path, err)
	}
	return LoadFile(path) // not key itself: another process may have been quicker
}

// Generate makes a signing key with a random name.
func Generate() (SigningKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SigningKey{}, fmt.Errorf("signing key: %w", err)
	}
	keyID, err := id.ParseKeyID(signedjson.Algorithm + ":a_" + rand.Text()[:6])
	return SigningKey{ID: keyID, Private: private}, err
}

// create writes a new file of mode 0600 in one step: it is there whole or not at all. A file that is there stays.
func create(path, text string) error {
	temp, err := write(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	err = os.Link(temp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temp, path) // a file system without hard links
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// LoadFile reads the signing key file at path. The error says what to do about it; fs.ErrNotExist is in its chain
// when there is no file.
func LoadFile(path string) (*KeyFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("signing key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("signing key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("signing key file %s: is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("signing key file %s: others may read or write it (mode %04o): who has this key can speak "+
			"for the whole server. Run: chmod 600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("signing key file %s: %w", path, err)
	}
	keys, err := ParseFile(string(text))
	if err != nil {
		return nil, fmt.Errorf("signing key file %s: %w", path, err)
	}
	return keys, nil
}

// ParseFile reads the text of a signing key file. Errors name the line, never a key.
func ParseFile(text string) (*KeyFile, error) {
	if len(text) > maxFileSize {
		return nil, fmt.Errorf("has more than %d bytes", maxFileSize)
	}
	f := &KeyFile{Old: map[id.KeyID]OldVerifyKey{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := f.addLine(fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if f.Current.ID == "" {
		return nil, errors.New("has no signing key: it needs a line «ed25519 <name> <seed in Base64>»")
	}
	return f, nil
}

// addLine adds the key of one line.
func (f *KeyFile) addLine(fields []string) error {
	if len(fields) != 3 && len(fields) != 4 {
		return errors.New("is neither «ed25519 <name> <seed>» nor «ed25519 <name> <expired, in ms> <public key>»")
	}
	if fields[0] != signedjson.Algorithm {
		return fmt.Errorf("the algorithm %q is not known, only %s", fields[0], signedjson.Algorithm)
	}
	keyID, err := id.ParseKeyID(fields[0] + ":" + fields[1])
	if err != nil {
		return err
	}
	if f.Lists(keyID) {
		return fmt.Errorf("the key %s is there twice", keyID)
	}
	key, err := signedjson.DecodeBase64(fields[len(fields)-1])
	if err != nil || len(key) != ed25519.SeedSize {
		return fmt.Errorf("the key %s is not 32 bytes in Base64", keyID)
	}
	if len(fields) == 4 {
		expired, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || expired <= 0 {
			return fmt.Errorf("the time %q at which key %s expired is not in milliseconds since 1970", fields[2], keyID)
		}
		f.Old[keyID] = OldVerifyKey{Key: key, ExpiredTS: expired}
		return nil
	}
	signing := SigningKey{ID: keyID, Private: ed25519.NewKeyFromSeed(key)}
	if f.Current.ID == "" {
		f.Current = signing
	} else {
		f.Others = append(f.Others, signing)
	}
	return nil
}

// Lists tells whether the file has a key of that ID, in use or old.
func (f *KeyFile) Lists(keyID id.KeyID) bool {
	_, there := f.Public(keyID)
	return there
}

// Public is the public half of the key of that ID, in use or old.
func (f *KeyFile) Public(keyID id.KeyID) (key ed25519.PublicKey, there bool) {
	for _, signing := range f.signing() {
		if signing.ID == keyID {
			return signing.Public(), true
		}
	}
	old, there := f.Old[keyID]
	return old.Key, there
}

// signing are all keys published as valid, the current one first.
func (f *KeyFile) signing() []SigningKey {
	return append([]SigningKey{f.Current}, f.Others...)
}

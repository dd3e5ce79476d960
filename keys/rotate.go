package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"hanse/federation/signedjson"
)

// Rotate puts a new signing key into the file at path. From then on it alone signs; every other key of which the file had the private
// half is kept as one that was used until now, so that what it has signed stays good. The file is replaced in one step: after a
// crash it is the old one or the new one, whole. Nobody may sign with the old keys after now.
//
// spec:server-server-api#publishing-keys
func Rotate(path string, now time.Time) (*KeyFile, error) {
	if _, err := LoadFile(path); err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(path) // it is the file that is replaced, not a link to it
	if err != nil {
		return nil, fmt.Errorf("signing key file: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key file: %w", err)
	}
	key, err := Generate()
	if err != nil {
		return nil, err
	}
	rotated, err := rotate(string(text), key, now)
	if err != nil {
		return nil, fmt.Errorf("signing key file %s: %w", path, err)
	}
	if err := replace(path, rotated); err != nil {
		return nil, fmt.Errorf("signing key file %s: the new key can't be written, and the old one stays in use: %w", path, err)
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("signing key file %s: has the new key, but a power cut soon may bring the old file back: %w", path, err)
	}
	return LoadFile(path)
}

// rotate is the text of a signing key file with a new key. Comments stay.
func rotate(text string, key SigningKey, now time.Time) (string, error) {
	file, err := ParseFile(text)
	switch {
	case err != nil:
		return "", err
	case file.Lists(key.ID):
		return "", fmt.Errorf("the key %s is there already; try again", key.ID)
	case len(file.signing())+len(file.Old) >= maxDocumentKeys:
		return "", fmt.Errorf("has %d keys, and other servers read no longer lists: take out the line of the key that was given up first, "+
			"whose events can't be checked by servers that come upon them from then on", maxDocumentKeys)
	}
	old := map[string]OldVerifyKey{}
	for _, k := range file.signing() {
		old[k.ID.Name()] = OldVerifyKey{Key: k.Public(), ExpiredTS: now.UnixMilli()}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s %s\n", signedjson.Algorithm, key.ID.Name(), signedjson.EncodeBase64(key.Private.Seed()))
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == signedjson.Algorithm {
			line = OldLine(fields[1], old[fields[1]]) + "\n"
		}
		out.WriteString(line)
	}
	_, err = ParseFile(out.String())
	return out.String(), err
}

// OldLine is the line of a signing key file for a key out of use. name is the key ID's part after the colon.
func OldLine(name string, old OldVerifyKey) string {
	return fmt.Sprintf("%s %s %d %s", signedjson.Algorithm, name, old.ExpiredTS, signedjson.EncodeBase64(old.Key))
}

// replace puts a text in a file's place in one step. The owner stays, and the mode is 0600.
func replace(path, text string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temp, err := write(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // it is gone already where all went well
	if err := sameOwner(temp, info); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// write writes a new file beside that of path, with mode 0600.
func write(path, text string) (temp string, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".signing-key-*")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(text)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// syncFolder makes the names in a folder durable, where the file system knows how to.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil // folders can't be synced there
	}
	file, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = file.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

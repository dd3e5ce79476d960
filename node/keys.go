package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/keys"
	"hanse/node/store"
)

// openKeys reads the signing keys, or makes them at the very first start. What was signed before must stay good: a missing file
// is not replaced silently, and one that doesn't list the key used last, or has another of its name, is refused.
func openKeys(ctx context.Context, config Config, s *store.Store) (*keys.KeyFile, error) {
	used, public, before, err := s.OwnKeyUsed(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(config.SigningKey); errors.Is(err, fs.ErrNotExist) && before {
		return nil, fmt.Errorf("signing_key: %s is missing, but this server has signed with the key %s before; "+
			"restore the file from a backup, or set signing_key to where it is%s", config.SigningKey, used, withoutKey(used, public))
	}
	file, err := keys.LoadOrCreate(config.SigningKey)
	if err != nil {
		return nil, fmt.Errorf("signing_key: %w", err)
	}
	if before && !file.Lists(used) {
		return nil, fmt.Errorf("signing_key: %s doesn't list the key %s, with which this server has signed before: nobody could check "+
			"that any more; restore the file from a newer backup%s", config.SigningKey, used, withoutKey(used, public))
	}
	if listed, there := file.Public(used); there && public != nil && !listed.Equal(public) {
		return nil, fmt.Errorf("signing_key: %s has another key of the name %s than the one with which this server has signed before: nobody "+
			"could check that any more; restore the file from a backup of this server", config.SigningKey, used)
	}
	return file, nil
}

// withoutKey says what to do where the private half of a key is lost for good.
func withoutKey(used id.KeyID, public ed25519.PublicKey) string {
	if public == nil {
		return ""
	}
	return fmt.Sprintf(". If the key is lost for good, make the file anew, of mode 0600, with two lines: «ed25519 a_new SEED», where "+
		"`head -c 32 /dev/urandom | base64` makes the SEED, and «%s»", keys.OldLine(used.Name(), keys.OldVerifyKey{Key: public, ExpiredTS: time.Now().UnixMilli()}))
}

// Keys are the signing keys of the server that has a configuration, as its file lists them.
func Keys(config Config) (*keys.KeyFile, error) {
	file, err := keys.LoadFile(config.withDefaults().SigningKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; the first start of the server makes it, or name its configuration by --config, or its data folder by --data-dir", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; ask as the user that hanse runs as", err)
	}
	return file, err
}

// RotateKeys gives the server that has a configuration a new signing key; see [keys.Rotate]. It must be stopped: what it signed with
// the old key from now on would not be believed.
func RotateKeys(config Config) (*keys.KeyFile, error) {
	config = config.withDefaults()
	if _, err := Keys(config); err != nil {
		return nil, err
	}
	lock, err := lockFolder(config.DataDir)
	if err != nil {
		return nil, fmt.Errorf("the server must be stopped for a new key: what it signed with the old one from now on would not be believed: %w", err)
	}
	file, err := keys.Rotate(config.SigningKey, time.Now())
	return file, errors.Join(err, lock.Close())
}

package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

// acmeStore keeps what an ACME manager has got, in a folder. What can't be written there is kept in memory until it can: the manager would
// forget it, and get it again and again, which authorities limit. Safe for concurrent use.
type acmeStore struct {
	folder autocert.DirCache
	log    *slog.Logger

	mu        sync.Mutex
	unwritten map[string][]byte            // guarded by mu
	unread    map[string]bool              // guarded by mu: of which the log has said that they can't be read
	leaves    map[string]*x509.Certificate // guarded by mu: of the certificates in use, by the names of their files
}

func newACMEStore(dataDir string, log *slog.Logger) *acmeStore {
	return &acmeStore{
		folder: autocert.DirCache(acmeFolder(dataDir)), log: log,
		unwritten: map[string][]byte{}, unread: map[string]bool{}, leaves: map[string]*x509.Certificate{},
	}
}

func acmeFolder(dataDir string) string { return filepath.Join(dataDir, "acme") }

// Get implements autocert.Cache.
func (s *acmeStore) Get(ctx context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, there := s.unwritten[name]; there {
		return data, nil
	}
	data, err := s.folder.Get(ctx, name)
	if err != nil && !errors.Is(err, autocert.ErrCacheMiss) && !s.unread[name] { // else again with each connection
		s.log.Error("what was got by ACME can't be read, and nobody will connect: let the user that hanse runs as read the folder acme and its files", "error", err)
		s.unread[name] = true
	}
	if err == nil {
		delete(s.unread, name)
		s.note("a certificate got by ACME was loaded", name, data)
	}
	return data, err
}

// Put implements autocert.Cache.
func (s *acmeStore) Put(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("a certificate was got by ACME", name, data)
	err := s.folder.Put(ctx, name, data)
	switch {
	case err == nil:
		delete(s.unwritten, name)
	case strings.HasSuffix(name, "+token"), strings.HasSuffix(name, "+http-01"): // of a challenge, for moments; the manager has them itself
	default:
		s.log.Error("what was got by ACME can't be written; it is used, and written when that can be done", "folder", string(s.folder), "file", name, "error", err)
		s.unwritten[name] = data
	}
	return nil
}

// Delete implements autocert.Cache.
func (s *acmeStore) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unwritten, name)
	return s.folder.Delete(ctx, name)
}

// write tries to write what could not be written.
func (s *acmeStore) write(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, data := range s.unwritten {
		if s.folder.Put(ctx, name, data) == nil {
			delete(s.unwritten, name)
			s.log.Info("what was got by ACME is written now", "folder", string(s.folder), "file", name)
		}
	}
}

// note has the log tell of a certificate that it hasn't told of; mu is held.
func (s *acmeStore) note(what, name string, data []byte) {
	leaf := certificateIn(data)
	if leaf == nil || strings.HasSuffix(name, "+token") {
		return
	}
	if known := s.leaves[name]; known != nil && known.Equal(leaf) {
		return
	}
	s.leaves[name] = leaf
	s.log.Info(what, "name", name, "valid_until", leaf.NotAfter.UTC().Format(time.RFC3339), "issuer", leaf.Issuer.String())
}

// certificateIn is the certificate of a PEM file that has its key too; nil if there is none, or the key is another's.
func certificateIn(data []byte) *x509.Certificate {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil
	}
	return pair.Leaf
}

// inUse adds the certificates in use to others, by name.
func (s *acmeStore) inUse(all map[string]*x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, leaf := range s.leaves {
		all[name] = leaf
	}
}

// load has the manager begin with the certificates that were got before, so that they are renewed in time although nobody connects. Those
// that are of no use any more are got anew when somebody does.
func (s *acmeStore) load(manager *autocert.Manager, names []string) {
	for _, name := range names {
		data, err := s.Get(context.Background(), name)
		if err != nil {
			continue
		}
		leaf := certificateIn(data)
		if now := time.Now(); leaf == nil || leaf.VerifyHostname(name) != nil || now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			continue
		}
		hello := &tls.ClientHelloInfo{ServerName: name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
		if _, err := manager.GetCertificate(hello); err != nil {
			s.log.Warn("a certificate got by ACME is of no use", "name", name, "error", err)
		}
	}
}

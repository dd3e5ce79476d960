package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// selfSigned is a certificate for a name, from and until so long from now, and its key, as PEM.
func selfSigned(t *testing.T, name string, from, until time.Duration) (certificate, secret []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	secret = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody's authority"}, DNSNames: []string{name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), secret
}

// TestCertificatesThatNobodyBelieves: who starts the server is told, and not only who connects.
func TestCertificatesThatNobodyBelieves(t *testing.T) {
	paths := [2]string{filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")}
	write := func(from, until time.Duration) {
		t.Helper()
		certificate, secret := selfSigned(t, "example.test", from, until)
		for i, data := range [][]byte{certificate, secret} {
			if err := os.WriteFile(paths[i], data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for want, times := range map[string][2]time.Duration{
		"has expired": {-2 * time.Hour, -time.Hour}, "is not valid yet": {time.Hour, 2 * time.Hour}, "": {-time.Hour, time.Hour},
	} {
		write(times[0], times[1])
		var log bytes.Buffer
		f, err := newCertificateFiles(paths[0], paths[1], slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})))
		if err != nil {
			t.Fatal(err)
		}
		atStart := log.String()
		log.Reset()
		f.stamp = [2]fileStamp{} // as if the files had changed
		f.reload()
		for _, said := range []string{atStart, log.String()} {
			if !strings.Contains(said, want) || (want == "") != (said == "") {
				t.Errorf("%q is said, not %q", said, want)
			}
		}
	}
}

// Package fabric is the network below a testnet: its certificate authority, its DNS server and the loopback
// addresses of its nodes. It knows names and addresses, nothing of Matrix beyond server names.
package fabric

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLifetime is how long the certificates of a testnet last: longer than any testnet's data folder is kept.
const certificateLifetime = 5 * 365 * 24 * time.Hour

// CA is a certificate authority of a testnet's own. It is immutable and safe for concurrent use.
type CA struct {
	certificate *x509.Certificate
	key         crypto.Signer
	certPEM     []byte
	keyPEM      []byte
}

// NewCA makes a certificate authority with a fresh key.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	template := certificateTemplate("Hanse testnet CA")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return ParseCA(encodeCertificate(der), keyPEM)
}

// ParseCA reads a certificate authority from its PEM certificate and PEM key (PKCS#8, PKCS#1 or SEC 1).
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	certificate, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read the CA: its key is a %T, which can't sign", pair.PrivateKey)
	}
	if !certificate.IsCA {
		return nil, errors.New("read the CA: its certificate may not sign others (no CA flag)")
	}
	return &CA{certificate: certificate, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}

// LoadOrCreateCA reads ca.crt and ca.key in folder, or makes and stores a new authority where both are missing.
func LoadOrCreateCA(folder string) (*CA, error) {
	certPath, keyPath := filepath.Join(folder, "ca.crt"), filepath.Join(folder, "ca.key")
	certPEM, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		ca, err := NewCA()
		if err != nil {
			return nil, err
		}
		if err := WriteFile(keyPath, ca.keyPEM, 0o600); err != nil {
			return nil, err
		}
		return ca, WriteFile(certPath, ca.certPEM, 0o644)
	}
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	return ParseCA(certPEM, keyPEM)
}

// WriteFile writes a file as a whole or not at all, as on a full disk.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	next := path + ".new"
	err := os.WriteFile(next, content, mode)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next) // it may not be there
	}
	return err
}

// CertificatePEM is the authority's own certificate: what the nodes of a testnet are told to trust.
func (ca *CA) CertificatePEM() []byte { return ca.certPEM }

// KeyPEM is the authority's private key.
func (ca *CA) KeyPEM() []byte { return ca.keyPEM }

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

// Issue makes a server certificate for names, each a DNS name or an IP literal, and returns it with its key as PEM.
func (ca *CA) Issue(names ...string) (certPEM, keyPEM []byte, err error) {
	if len(names) == 0 {
		return nil, nil, errors.New("a certificate needs at least one name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificateTemplate(names[0])
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for %v: %w", names, err)
	}
	keyPEM, err = encodeKey(key)
	return append(encodeCertificate(der), ca.certPEM...), keyPEM, err
}

func certificateTemplate(commonName string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail (since Go 1.24)
	}
	if len(commonName) > 64 { // the longest common name of X.509; names that matter are alternative names
		commonName = commonName[:64]
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(certificateLifetime),
	}
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

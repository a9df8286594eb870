package servers

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	"ollama-api-pool/internal/testkit"
)

// write writes a file of a server, for its user's eyes only.
func write(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return give(path)
}

// writeCertificate puts a certificate that is its own authority and its key
// into a directory.
func writeCertificate(dir string) (certificate, key string, err error) {
	der, secret, err := testkit.Certificate()
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return "", "", err
	}
	certificate, key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	if err := write(certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))); err != nil {
		return "", "", err
	}
	return certificate, key, write(key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

package receipt

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// KeyID returns "SHA256:" and the unpadded base64 of the SHA-256 of a public key in DER
// (SubjectPublicKeyInfo), as `openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary |
// base64` has it.
func KeyID(key ed25519.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name the receipt key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), nil
}

// Generate returns a new private key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519`
// makes it.
func Generate() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a receipt key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a receipt key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParsePrivate reads private keys in PEM (PKCS #8). The first one signs; receipts of the others
// still verify receipts. An error does not repeat the text.
func ParsePrivate(text []byte) ([]ed25519.PrivateKey, error) {
	var keys []ed25519.PrivateKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		private, ok := key.(ed25519.PrivateKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("PEM block %d is no Ed25519 private key: make one with `openssl genpkey -algorithm ed25519`", len(keys)+1)
		}
		keys = append(keys, private)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no PEM block in it: make a key with `openssl genpkey -algorithm ed25519`")
	}
	return keys, nil
}

// ParsePublic reads public keys in PEM, and the public halves of private ones.
func ParsePublic(text []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		if block.Type == "PRIVATE KEY" {
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
			if private, ok := key.(ed25519.PrivateKey); ok {
				key = private.Public()
			}
		} else {
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		public, ok := key.(ed25519.PublicKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("PEM block %d is no Ed25519 key", len(keys)+1)
		}
		keys = append(keys, public)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no PEM block in it")
	}
	return keys, nil
}

// EncodePublic writes public keys in PEM.
func EncodePublic(keys ...ed25519.PublicKey) ([]byte, error) {
	var out []byte
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("write a public key: %w", err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return out, nil
}

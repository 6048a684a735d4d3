//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// operator may do everything. A server under --auth dev takes everyone for the
	// operator who does not name another user.
	operator = "operator"

	tokenLife  = time.Hour
	secretSize = 32
)

// signer says who asks. The zero value does so for a server under --auth dev, which
// believes it without a token.
type signer struct {
	method jwt.SigningMethod
	key    any
}

// claims are those of a user's token.
type claims struct {
	jwt.RegisteredClaims

	Roles []string `json:"roles,omitempty"`
}

// readSigner reads a key: a private one in PEM is of ES256, anything else is the
// secret of HS256. Without a file there are no tokens.
func readSigner(file string) (signer, error) {
	if file == "" {
		return signer{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return signer{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return signer{jwt.SigningMethodHS256, text}, nil
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return signer{}, fmt.Errorf("%s: %w", file, err)
	}
	return signer{jwt.SigningMethodES256, key}, nil
}

// headers are those with which the user asks.
func (s signer) headers(user string) ([]string, error) {
	if s.method == nil {
		if user == operator {
			return nil, nil
		}
		return []string{"Parley-User: " + user}, nil
	}
	now := time.Now()
	c := claims{RegisteredClaims: jwt.RegisteredClaims{
		Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
	}}
	if user == operator {
		c.Roles = []string{"admin"}
	}
	token, err := jwt.NewWithClaims(s.method, c).SignedString(s.key)
	if err != nil {
		return nil, fmt.Errorf("token of %s: %w", user, err)
	}
	return []string{"Authorization: Bearer " + token}, nil
}

// keyFiles are what tokens are signed with and what the server verifies them with.
type keyFiles struct{ private, public string }

// makeSecret makes the secret of HS256, which both sides have.
func (w *workspace) makeSecret() (keyFiles, error) {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	file := filepath.Join(w.programs, "hs256.secret")
	return keyFiles{file, file}, os.WriteFile(file, []byte(hex.EncodeToString(secret)), 0o600)
}

// makeKeyPair makes the keys of ES256.
func (w *workspace) makeKeyPair() (keyFiles, error) {
	files := keyFiles{filepath.Join(w.programs, "es256.private.pem"), filepath.Join(w.programs, "es256.public.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return files, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return files, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return files, err
	}
	return files, errors.Join(
		writePEM(files.private, "EC PRIVATE KEY", private),
		writePEM(files.public, "PUBLIC KEY", public),
	)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecretBytes = 32 // RFC 7518 section 3.2
	minRSABits     = 2048
	maxRSABits     = 8192 // verifying takes time by the square of it
	maxKeyBytes    = 1 << 20
	keyIDBytes     = 12 // of a hash: 16 characters
)

// verifyKey is a key that tokens are verified with, and the one algorithm that it is for. What a token says of its
// algorithm is compared with it, and decides nothing.
type verifyKey struct {
	kid    string // of a set's
	id     string // likewise; see keyID
	method jwt.SigningMethod
	key    any // of the type that method takes
}

// newVerifyKey is the key's, with the algorithm that follows from its type.
func newVerifyKey(key any) (*verifyKey, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key must have %d to %d bits", minRSABits, maxRSABits)
		}
		return &verifyKey{method: jwt.SigningMethodRS256, key: key}, nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return nil, errors.New("an ECDSA key must be of P-256")
		}
		return &verifyKey{method: jwt.SigningMethodES256, key: key}, nil
	case ed25519.PublicKey:
		return &verifyKey{method: jwt.SigningMethodEdDSA, key: key}, nil
	default:
		return nil, errors.New("the key must be a public one of RSA, of ECDSA with P-256, or of Ed25519")
	}
}

// keyID is what logs, and the streams that it opened, know a key of a set by: "jwk:" and a part of a hash over its public
// material. It is the same on every node, and whatever the key is called.
func keyID(public any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(der)
	return "jwk:" + base64.RawURLEncoding.EncodeToString(hash[:keyIDBytes]), nil
}

// equal tells whether two public keys of sets are the same, also in what they are called.
func (k *verifyKey) equal(other *verifyKey) bool {
	public, ok := k.key.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && k.kid == other.kid && public.Equal(other.key)
}

// readSecret reads the secret of HS256. No error has any of it.
func readSecret(path string) ([]byte, error) {
	secret, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	secret = bytes.TrimSuffix(secret, []byte("\n"))
	secret = bytes.TrimSuffix(secret, []byte("\r"))
	if len(secret) < minSecretBytes {
		return nil, fmt.Errorf("%s: the secret of tokens must have at least %d bytes", path, minSecretBytes)
	}
	if bytes.HasPrefix(secret, []byte("-----BEGIN ")) { // with a public key as the secret, whoever knows it makes tokens
		return nil, fmt.Errorf("%s: is a key in PEM, and no secret: see --jwt-public-key-file", path)
	}
	return secret, nil
}

// readPublicKey reads a public key, or the one of a certificate, in PEM.
func readPublicKey(path string) (*verifyKey, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func parsePublicKey(text []byte) (*verifyKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("is not in PEM")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("must hold one key and nothing else")
	}
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newVerifyKey(key)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newVerifyKey(certificate.PublicKey)
	default:
		return nil, errors.New(`must be a "PUBLIC KEY" or a "CERTIFICATE"`)
	}
}

// readBounded reads a file that holds keys.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := readAll(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content, nil
}

func readAll(from io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(from, maxKeyBytes+1))
	if err == nil && len(content) > maxKeyBytes {
		err = fmt.Errorf("must be at most %d bytes", maxKeyBytes)
	}
	return content, err
}

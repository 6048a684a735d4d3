package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/internal/session"
)

const (
	minTTL = time.Second
	maxTTL = 10 * 365 * 24 * time.Hour
)

// TokenSpec says what a token is to say.
type TokenSpec struct {
	User     string
	TTL      time.Duration // from 1 second to 10 years
	Roles    []string      // beyond what every user may
	Issuer   string        // empty: none
	Audience string        // empty: none
	Now      time.Time     // when it is made
}

// Mint makes an HS256 token with the secret in the file, as JWTConfig.SecretFile has it.
func Mint(secretFile string, spec TokenSpec) (string, error) {
	if err := spec.check(); err != nil {
		return "", err
	}
	secret, err := readSecret(secretFile)
	if err != nil {
		return "", err
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, spec.claims()).SignedString(secret)
}

func (s *TokenSpec) check() error {
	if err := session.CheckUser("user", s.User); err != nil {
		return err
	}
	if s.TTL < minTTL || s.TTL > maxTTL {
		return fmt.Errorf("ttl: must be from %v to %v, which is ten years", minTTL, maxTTL)
	}
	for _, role := range s.Roles {
		if role := session.Role(role); role != session.RoleService && role != session.RoleAdmin {
			return errors.New("role: must be service or admin")
		}
	}
	return nil
}

func (s *TokenSpec) claims() jwt.MapClaims {
	now := s.Now.Truncate(time.Second)
	claims := jwt.MapClaims{"sub": s.User, "iat": now.Unix(), "exp": now.Add(s.TTL).Unix()}
	if s.Issuer != "" {
		claims["iss"] = s.Issuer
	}
	if s.Audience != "" {
		claims["aud"] = s.Audience
	}
	if len(s.Roles) > 0 {
		claims["roles"] = s.Roles
	}
	return claims
}

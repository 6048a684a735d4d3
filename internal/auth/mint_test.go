package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
)

func TestMint(t *testing.T) {
	for name, test := range map[string]struct {
		spec TokenSpec
		want session.Caller
	}{
		"a user":  {TokenSpec{User: "u1", TTL: time.Hour}, session.Caller{User: "u1", Until: session.TimeOf(noon.Add(time.Hour))}},
		"roles":   {TokenSpec{User: "u1", TTL: time.Second, Roles: []string{"service", "admin"}}, session.Caller{User: "u1", Admin: true, Service: true, Until: session.TimeOf(noon.Add(time.Second))}},
		"longest": {TokenSpec{User: "u1", TTL: 87600 * time.Hour}, session.Caller{User: "u1", Until: session.TimeOf(noon.Add(87600 * time.Hour))}},
	} {
		t.Run(name, func(t *testing.T) {
			config := withSecret(t)
			config.Issuer, config.Audience = "me", "parley"
			test.spec.Now, test.spec.Issuer, test.spec.Audience = noon, "me", "parley"
			token, err := Mint(config.SecretFile, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			got, err := callerOf(open(t, config), bearerOf(token))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMintRefuses(t *testing.T) {
	good := temporary(t, secretText)
	for name, test := range map[string]struct {
		file string
		spec TokenSpec
		want string
	}{
		"no user":           {good, TokenSpec{TTL: time.Hour}, "user"},
		"a long user":       {good, TokenSpec{User: strings.Repeat("u", 129), TTL: time.Hour}, "user"},
		"a control in user": {good, TokenSpec{User: "u\n", TTL: time.Hour}, "user"},
		"no ttl":            {good, TokenSpec{User: "u1"}, "ttl"},
		"a ttl below 0":     {good, TokenSpec{User: "u1", TTL: -time.Hour}, "ttl"},
		"over ten years":    {good, TokenSpec{User: "u1", TTL: 87601 * time.Hour}, "ttl"},
		"an unknown role":   {good, TokenSpec{User: "u1", TTL: time.Hour, Roles: []string{"admin", "Admin"}}, "role"},
		"a short secret":    {temporary(t, "short"), TokenSpec{User: "u1", TTL: time.Hour}, "32 bytes"},
		"no file":           {good + "x", TokenSpec{User: "u1", TTL: time.Hour}, good + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			test.spec.Now = noon
			token, err := Mint(test.file, test.spec)
			if err == nil || token != "" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("token = %q, error = %v, want one of %s", token, err, test.want)
			}
		})
	}
}

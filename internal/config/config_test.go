package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

// load reads the settings of arguments, and of a file if it has content.
func load(t *testing.T, content string, arguments ...string) (Config, error) {
	t.Helper()
	if content != "" {
		path := filepath.Join(t.TempDir(), "parley.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, "--config", path)
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Flags(flags)
	if err := flags.Parse(arguments); err != nil {
		t.Fatal(err)
	}
	return Load(flags)
}

func defaults() Config {
	return Config{
		Listen: "127.0.0.1:8080", GRPCListen: "127.0.0.1:9090", DataDir: "./parley-data", Auth: "dev",
		LogLevel: "info", LogFormat: "text",
		Limits: Limits{
			Requests: 200, Creates: 20, Publishes: 100, Streams: 20, Address: 2000,
			Sessions: 10_000, OpenStreams: 100, BytesInFlight: 16 << 20,
		},
	}
}

func TestLaterSourcesWin(t *testing.T) {
	for name, test := range map[string]struct {
		file, variable, flag, want string
	}{
		"default":                {"", "", "", "info"},
		"file":                   {"warn", "", "", "warn"},
		"variable":               {"", "error", "", "error"},
		"variable over file":     {"warn", "error", "", "error"},
		"flag":                   {"", "", "debug", "debug"},
		"flag over file":         {"warn", "", "debug", "debug"},
		"flag over variable":     {"", "error", "debug", "debug"},
		"flag over both":         {"warn", "error", "debug", "debug"},
		"flag that is a default": {"warn", "error", "info", "info"},
	} {
		t.Run(name, func(t *testing.T) {
			file, arguments := "", []string(nil)
			if test.file != "" {
				file = "log-level: " + test.file
			}
			if test.variable != "" {
				t.Setenv("PARLEY_LOG_LEVEL", test.variable)
			}
			if test.flag != "" {
				arguments = []string{"--log-level", test.flag}
			}
			want := defaults()
			want.LogLevel = test.want
			got, err := load(t, file, arguments...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

// settings are values that are not the defaults. Lists have commas.
type settings struct {
	values map[string]string
	want   Config
}

// everySetting has a value for each setting. What excludes one another is apart.
var everySetting = map[string]settings{
	"most": {
		map[string]string{
			"listen": "localhost:1", "grpc-listen": "[::1]:2", "data-dir": "/d", "server-key-file": "/k", "auth": "jwt",
			"database-url": "postgres://u@h/n", "jwt-secret-file": "/s", "jwt-issuer": "i", "jwt-audience": "a",
			"nats-url": "nats://a,tls://b", "nats-creds": "/n", "nats-ca": "/o", "nats-cert": "/q", "nats-key": "/r",
			"nats-api": "true", "nats-mirror": "true", "tls-cert": "/c", "tls-key": "/p",
			"limit-requests": "1", "limit-creates": "2", "limit-publishes": "3", "limit-streams": "4", "limit-address": "5",
			"quota-sessions": "6", "quota-streams": "7", "quota-bytes": "8",
			"cors-origin": "https://a.example,https://b.example:8443", "trusted-proxy": "10.0.0.0/8,::1", "audit": "off",
			"drain-delay": "7s", "log-level": "debug", "log-format": "json",
		},
		Config{
			Listen: "localhost:1", GRPCListen: "[::1]:2", DataDir: "/d", KeyFile: "/k", Auth: "jwt",
			DatabaseURL: "postgres://u@h/n",
			JWT:         JWT{SecretFile: "/s", Issuer: "i", Audience: "a"},
			NATS:        NATS{URL: "nats://a,tls://b", Creds: "/n", CA: "/o", Cert: "/q", Key: "/r", API: true, Mirror: true},
			TLSCert:     "/c", TLSKey: "/p",
			Limits: Limits{
				Requests: 1, Creates: 2, Publishes: 3, Streams: 4, Address: 5, Sessions: 6, OpenStreams: 7, BytesInFlight: 8,
			},
			CORSOrigins: []string{"https://a.example", "https://b.example:8443"}, Proxies: []string{"10.0.0.0/8", "::1"},
			DrainDelay: 7 * time.Second, Audit: "off", LogLevel: "debug", LogFormat: "json",
		},
	},
	"a NATS server of our own": {
		map[string]string{
			"nats-listen": "127.0.0.1:1", "nats-leaf": "127.0.0.1:2", "nats-cluster": "127.0.0.1:3",
			"nats-routes": "nats://127.0.0.1:4,nats://127.0.0.1:5",
		},
		changed(func(c *Config) {
			c.NATS = NATS{
				Listen: "127.0.0.1:1", Leaf: "127.0.0.1:2", Cluster: "127.0.0.1:3",
				Routes: []string{"nats://127.0.0.1:4", "nats://127.0.0.1:5"},
			}
		}),
	},
}

func changed(change func(*Config)) Config {
	c := defaults()
	change(&c)
	return c
}

func TestEveryNameIsTakenFromEverySource(t *testing.T) {
	for name, test := range everySetting {
		check := func(t *testing.T, got Config, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		}
		t.Run("flags, "+name, func(t *testing.T) {
			var arguments []string
			for name, value := range test.values {
				arguments = append(arguments, "--"+name+"="+value)
			}
			got, err := load(t, "", arguments...)
			check(t, got, err)
		})
		t.Run("file, "+name, func(t *testing.T) {
			var file strings.Builder
			for name, value := range test.values {
				quoted := `"` + value + `"`
				if strings.Contains(value, ",") && name != "nats-url" { // that is one value
					quoted = "[" + strings.ReplaceAll(quoted, ",", `", "`) + "]"
				}
				file.WriteString(name + ": " + quoted + "\n")
			}
			got, err := load(t, file.String())
			check(t, got, err)
		})
		t.Run("variables, "+name, func(t *testing.T) {
			for name, value := range test.values {
				t.Setenv("PARLEY_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), value)
			}
			got, err := load(t, "")
			check(t, got, err)
		})
	}
}

// The other places of a key are left out of everySetting, because only one may be given.
func TestEverySettingIsTested(t *testing.T) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Flags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case FlagFile, "jwt-public-key-file", "jwt-jwks-url", "jwt-jwks-file":
		default:
			tested := false
			for _, test := range everySetting {
				_, found := test.values[f.Name]
				tested = tested || found
			}
			if !tested {
				t.Errorf("--%s is not tested", f.Name)
			}
		}
	})
}

func TestWhatIsRightUnderJWT(t *testing.T) {
	for name, arguments := range map[string][]string{
		"every address":           {"--listen=:8080", "--grpc-listen=0.0.0.0:9090"},
		"every origin":            {"--cors-origin=*"},
		"a public key":            {"--jwt-public-key-file=/k"},
		"a key set":               {"--jwt-jwks-file=/k"},
		"a key set's URL":         {"--jwt-jwks-url=https://id.example.com/keys"},
		"a key set's URL, nearby": {"--jwt-jwks-url=http://127.0.0.1:1/keys"},
		"no limits":               {"--limit-requests=0", "--quota-sessions=0"},
		"an address as a proxy":   {"--trusted-proxy=10.1.2.3"},
		"NATS for everyone":       {"--nats-listen=:4222", "--nats-leaf=:7422", "--nats-cluster=:6222"},
		"the API on NATS":         {"--nats-url=nats://h", "--nats-api"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, "", append(arguments, "--auth=jwt")...); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnknownNamesAreErrorsThatNameThem(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		if _, err := load(t, "colour: red"); err == nil || !strings.Contains(err.Error(), "colour") {
			t.Errorf("Load() = %v, want an error that names colour", err)
		}
	})
	t.Run("variable", func(t *testing.T) {
		t.Setenv("PARLEY_COLOUR", "red")
		if _, err := load(t, ""); err == nil || !strings.Contains(err.Error(), "colour") {
			t.Errorf("Load() = %v, want an error that names colour", err)
		}
	})
}

// TestWhatKubernetesSaysOfServicesIsNoSetting: of services called parley, parley-nodes and parley-nats.
func TestWhatKubernetesSaysOfServicesIsNoSetting(t *testing.T) {
	for name, value := range map[string]string{
		"PARLEY_SERVICE_HOST": "10.0.0.1", "PARLEY_SERVICE_PORT": "8080", "PARLEY_NODES_SERVICE_PORT_REST_1": "8080",
		"PARLEY_PORT": "tcp://10.0.0.1:8080", "PARLEY_PORT_8080_TCP": "tcp://10.0.0.1:8080", "PARLEY_PORT_8080_TCP_PROTO": "tcp",
		"PARLEY_NATS_PORT": "udp://10.0.0.1:8080", "PARLEY_NATS_PORT_8080_UDP_ADDR": "10.0.0.1", "PARLEY_PORT_8080_TCP_PORT": "8080",
	} {
		t.Setenv(name, value)
	}
	if got, err := load(t, ""); err != nil || !cmp.Equal(got, defaults(), cmpopts.EquateEmpty()) {
		t.Errorf("Load() = %+v, %v, want the defaults", got, err)
	}
	t.Setenv("PARLEY_PORT", "8080") // somebody's, who means a setting
	if _, err := load(t, ""); err == nil || !strings.Contains(err.Error(), `"port"`) {
		t.Errorf("Load() = %v, want an error that names port", err)
	}
}

func TestBadSettingsAreErrorsThatNameTheFlag(t *testing.T) {
	for name, test := range map[string]struct {
		file      string
		arguments []string
		names     string
	}{
		"a number for a delay":       {"drain-delay: 5", nil, "--drain-delay"},
		"no host":                    {"", []string{"--listen=:8080"}, "--listen"},
		"every address":              {"", []string{"--listen=0.0.0.0:8080"}, "--listen"},
		"gRPC on every address":      {"", []string{"--grpc-listen=:9090"}, "--grpc-listen"},
		"an unknown way to know":     {"", []string{"--auth=none"}, "--auth"},
		"every origin":               {"", []string{"--cors-origin=*"}, "--cors-origin"},
		"an origin with a star":      {"", []string{"--cors-origin=https://*.example.com"}, "--cors-origin"},
		"an origin without scheme":   {"", []string{"--cors-origin=example.com"}, "--cors-origin"},
		"an origin with a path":      {"", []string{"--cors-origin=https://example.com/"}, "--cors-origin"},
		"an origin with a query":     {"", []string{"--cors-origin=https://example.com?x"}, "--cors-origin"},
		"an origin with a fragment":  {"", []string{"--cors-origin=https://example.com#x"}, "--cors-origin"},
		"an origin with a user":      {"", []string{"--cors-origin=https://u@example.com"}, "--cors-origin"},
		"the origin null":            {"", []string{"--cors-origin=null"}, "--cors-origin"},
		"two keys":                   {"", []string{"--jwt-secret-file=/s", "--jwt-public-key-file=/k"}, "--jwt-secret-file"},
		"a key set over http":        {"", []string{"--jwt-jwks-url=http://id.example.com/keys"}, "--jwt-jwks-url"},
		"a key set without host":     {"", []string{"--jwt-jwks-url=https:///keys"}, "--jwt-jwks-url"},
		"a certificate alone":        {"", []string{"--tls-cert=/c"}, "--tls-key"},
		"a certificate's key alone":  {"", []string{"--tls-key=/k"}, "--tls-cert"},
		"a negative limit":           {"", []string{"--limit-creates=-1"}, "--limit-creates"},
		"a negative quota":           {"", []string{"--quota-bytes=-1"}, "--quota-bytes"},
		"a proxy by name":            {"", []string{"--trusted-proxy=proxy.example.com"}, "--trusted-proxy"},
		"a proxy's bad network":      {"", []string{"--trusted-proxy=10.0.0.0/33"}, "--trusted-proxy"},
		"a database of another kind": {"", []string{"--database-url=mysql://h/n"}, "--database-url"},
		"a database that is no URL":  {"", []string{"--database-url=host=h password=p"}, "--database-url"},
		"credentials for no NATS":    {"", []string{"--nats-creds=/c"}, "--nats-url"},
		"an API for no NATS":         {"", []string{"--nats-api"}, "--nats-url"},
		"a mirror without the API":   {"", []string{"--nats-url=nats://h", "--nats-mirror"}, "--nats-api"},
		"NATS here and there":        {"", []string{"--nats-url=nats://h", "--nats-listen=127.0.0.1:1"}, "--nats-listen"},
		"a NATS URL without host":    {"", []string{"--nats-url=nats://a,h"}, "--nats-url"},
		"a certificate for NATS":     {"", []string{"--nats-url=nats://h", "--nats-cert=/c"}, "--nats-key"},
		"routes without a cluster":   {"", []string{"--nats-routes=nats://h:1"}, "--nats-cluster"},
		"a route without a port":     {"", []string{"--nats-cluster=127.0.0.1:1", "--nats-routes=nats://h"}, "--nats-routes"},
		"authorities of nobody":      {"", []string{"--nats-ca=/c"}, "--nats-ca"},
		"a route with a password":    {"", []string{"--nats-cluster=127.0.0.1:1", "--nats-routes=nats://u:p@h:1"}, "--nats-routes"},
		"NATS clients from anywhere": {"", []string{"--nats-listen=0.0.0.0:4222"}, "--nats-listen"},
		"leaf nodes from anywhere":   {"", []string{"--nats-leaf=:7422"}, "--nats-leaf"},
		"a cluster of anyone":        {"", []string{"--nats-cluster=:6222"}, "--nats-cluster"},
		"everyone on a NATS":         {"", []string{"--nats-url=nats://127.0.0.1,nats://h", "--nats-api"}, "--nats-api"},
		"a negative delay":           {"", []string{"--drain-delay=-1s"}, "--drain-delay"},
		"a delay without a unit":     {"drain-delay: five", nil, "drain-delay"},
		"an unknown audit":           {"", []string{"--audit=yes"}, "--audit"},
		"a bad one from the file":    {"cors-origin: [\"*\"]", nil, "--cors-origin"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := load(t, test.file, test.arguments...); err == nil || !strings.Contains(err.Error(), test.names) {
				t.Errorf("Load() = %+v, %v; want an error that names %s", got, err, test.names)
			}
		})
	}
}

func TestEveryBadSettingIsReported(t *testing.T) {
	_, err := load(t, "", "--listen=:1", "--grpc-listen=:2", "--cors-origin=*")
	for _, name := range []string{"--listen", "--grpc-listen", "--cors-origin"} {
		if err == nil || !strings.Contains(err.Error(), name+" ") {
			t.Errorf("Load() = %v, want an error that names %s", err, name)
		}
	}
}

func TestAFileThatIsNotThere(t *testing.T) {
	if _, err := load(t, "", "--config", "/nowhere/parley.yaml"); err == nil || !strings.Contains(err.Error(), "/nowhere/parley.yaml") {
		t.Errorf("Load() = %v, want an error that names the file", err)
	}
}

func TestAFileThatIsNoYAML(t *testing.T) {
	if _, err := load(t, "a: [\n"); err == nil {
		t.Error("Load() = nil, want an error")
	}
}

func TestTheFileMayBeNamedByAVariable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte("log-level: warn"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PARLEY_CONFIG", path)
	got, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if got.LogLevel != "warn" {
		t.Errorf("LogLevel = %q, want the file's", got.LogLevel)
	}
}

func TestNoURLIsShown(t *testing.T) {
	for _, arguments := range [][]string{
		{"--database-url=mysql://u:secret@h/n"},
		{"--database-url=postgres://u:secret@h:port/n"},
		{"--database-url=postgres://u:p@secret@h/n"},
		{"--database-url=postgres://u:12/secret@h/n"},
		{"--nats-url=nats://u:secret@h:port"},
		{"--nats-url=nats://u:secret@h", "--nats-api"},
		{"--nats-cluster=127.0.0.1:1", "--nats-routes=nats://u:secret@h:1"},
	} {
		if _, err := load(t, "", arguments...); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Load(%q) = %v, want an error without the password", arguments, err)
		}
	}
}

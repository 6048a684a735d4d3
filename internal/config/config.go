// Package config reads the server's settings: defaults, then a configuration file, then PARLEY_* variables, then
// flags; the later ones win.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/parleyhq/parley/internal/auth"
)

// Config is everything that can be set. The names are those of the flags; of a variable, "PARLEY_" and the name in
// capitals with underscores; of the file, the name.
type Config struct {
	Listen      string        `koanf:"listen"`
	GRPCListen  string        `koanf:"grpc-listen"`
	DataDir     string        `koanf:"data-dir"`
	DatabaseURL string        `koanf:"database-url"`
	KeyFile     string        `koanf:"server-key-file"`
	NATS        NATS          `koanf:",squash"`
	Auth        string        `koanf:"auth"`
	JWT         JWT           `koanf:",squash"`
	Limits      Limits        `koanf:",squash"`
	TLSCert     string        `koanf:"tls-cert"`
	TLSKey      string        `koanf:"tls-key"`
	CORSOrigins []string      `koanf:"cors-origin"`
	Proxies     []string      `koanf:"trusted-proxy"`
	DrainDelay  time.Duration `koanf:"drain-delay"`
	Audit       string        `koanf:"audit"`
	LogLevel    string        `koanf:"log-level"`
	LogFormat   string        `koanf:"log-format"`
}

// NATS says how nodes tell one another what happens, and how NATS clients reach the API: over servers elsewhere (URL), or
// over the server inside of the process, which nobody can reach unless it listens.
type NATS struct {
	URL    string `koanf:"nats-url"` // one, or several with commas between
	Creds  string `koanf:"nats-creds"`
	CA     string `koanf:"nats-ca"`
	Cert   string `koanf:"nats-cert"`
	Key    string `koanf:"nats-key"`
	API    bool   `koanf:"nats-api"`
	Mirror bool   `koanf:"nats-mirror"`

	Listen  string   `koanf:"nats-listen"`
	Leaf    string   `koanf:"nats-leaf"`
	Cluster string   `koanf:"nats-cluster"`
	Routes  []string `koanf:"nats-routes"`
}

// JWT says which bearer tokens are taken. It needs one of the keys.
type JWT struct {
	SecretFile    string `koanf:"jwt-secret-file"`
	PublicKeyFile string `koanf:"jwt-public-key-file"`
	JWKSURL       string `koanf:"jwt-jwks-url"`
	JWKSFile      string `koanf:"jwt-jwks-file"`
	Issuer        string `koanf:"jwt-issuer"`
	Audience      string `koanf:"jwt-audience"`
}

// Limits bound what one user, and one address, may ask of this server; of several nodes each counts for itself, but for the
// sessions that exist. 0: no limit. Rates are a second; twice as much may come at once.
type Limits struct {
	Requests  int `koanf:"limit-requests"`  // of a user, all together
	Creates   int `koanf:"limit-creates"`   // of a user
	Publishes int `koanf:"limit-publishes"` // of a user
	Streams   int `koanf:"limit-streams"`   // that a user opens
	Address   int `koanf:"limit-address"`   // of an address, whoever asks

	Sessions      int `koanf:"quota-sessions"` // that a user has created, and that exist
	OpenStreams   int `koanf:"quota-streams"`  // of a user, at a time, on a node
	BytesInFlight int `koanf:"quota-bytes"`    // of a user's request bodies, at a time, on a node
}

// FlagFile is the flag that names the configuration file.
const FlagFile = "config"

const (
	flagOrigins = "cors-origin"
	flagProxies = "trusted-proxy"
	flagRoutes  = "nats-routes"
)

const envPrefix = "PARLEY_"

// Flags defines the flags of "parley serve", with their defaults.
func Flags(flags *pflag.FlagSet) {
	flags.String(FlagFile, "", "configuration file (YAML) with the same names as the flags")
	flags.String("listen", "127.0.0.1:8080", "address of REST and health checks")
	flags.String("grpc-listen", "127.0.0.1:9090", "address of gRPC, with health and reflection")
	flags.String("data-dir", "./parley-data", "directory of the database and the server key; made if need be")
	flags.String("database-url", "", "PostgreSQL in the place of the data directory, for many nodes: postgres://user:password@host:port/name")
	flags.String("server-key-file", "", "server key ring; default: server.key in the data directory, or kept in PostgreSQL; made if need be")
	flags.String("nats-url", "", "NATS servers by which nodes tell one another, with commas between; default: one inside of the process")
	flags.String("nats-creds", "", "file with the credentials for --nats-url")
	flags.String("nats-ca", "", "file with the authorities of the certificates at --nats-url or --nats-routes, in PEM; default: the system's")
	flags.String("nats-cert", "", "file with our certificate for --nats-url, in PEM")
	flags.String("nats-key", "", "file with that certificate's private key, in PEM")
	flags.Bool("nats-api", false, "answer API requests on --nats-url, as --nats-listen does anyway")
	flags.Bool("nats-mirror", false, "with --nats-api: publish events in the clear on --nats-url, whose own permissions say who reads them")
	flags.String("nats-listen", "", "address where the server inside of the process takes NATS clients; default: nowhere")
	flags.String("nats-leaf", "", "address where it takes leaf nodes; default: nowhere")
	flags.String("nats-cluster", "", "address where it takes the servers of other nodes, to make one cluster; default: nowhere")
	flags.StringSlice(flagRoutes, nil, "where another node's --nats-cluster is, nats://host:port; may repeat")
	flags.String("auth", "dev", "who is asking: dev (loopback only, everyone is the operator) or jwt (bearer tokens and API keys)")
	flags.String("jwt-secret-file", "", "file with the secret of HS256 tokens: its bytes less one trailing newline, at least 32")
	flags.String("jwt-public-key-file", "", "file with the public key of RS256, ES256 or EdDSA tokens, in PEM")
	flags.String("jwt-jwks-url", "", "where the JSON Web Key Set of the tokens is, over https")
	flags.String("jwt-jwks-file", "", "file with the JSON Web Key Set of the tokens; read again when it changes")
	flags.String("jwt-issuer", "", "iss that tokens must have; default: any")
	flags.String("jwt-audience", "", "aud that tokens must have; default: any")
	flags.String("tls-cert", "", "file with the certificate chain of all listeners, in PEM; read again when it changes")
	flags.String("tls-key", "", "file with the certificate's private key, in PEM")
	flags.Int("limit-requests", 200, "requests a second of a user to this server; 0: no limit. No limit holds under --auth dev")
	flags.Int("limit-creates", 20, "sessions that a user creates a second on this server; 0: no limit")
	flags.Int("limit-publishes", 100, "messages that a user publishes a second on this server; 0: no limit")
	flags.Int("limit-streams", 20, "streams that a user opens a second on this server; 0: no limit")
	flags.Int("limit-address", 2000, "requests a second of an address to this server, whoever asks; 0: no limit")
	flags.Int("quota-sessions", 10_000, "sessions of a user's making that may exist, whichever node made them; 0: no limit")
	flags.Int("quota-streams", 100, "streams that a user may have open on this server; 0: no limit")
	flags.Int("quota-bytes", 16<<20, "bytes of a user's request bodies that this server handles at a time; 0: no limit")
	flags.StringSlice(flagProxies, nil, "network whose X-Forwarded-For is believed, such as 10.0.0.0/8; may repeat")
	flags.Duration("drain-delay", 0, "how long a server that is told to stop only says so in /readyz, such as 5s, for balancers to notice")
	flags.String("audit", "", "record of changes and denials: log or off; default: off under --auth dev, else log")
	flags.StringSlice(flagOrigins, nil, "web origin whose pages may change things, besides our own; may repeat")
	flags.String("log-level", "info", "debug, info, warn or error")
	flags.String("log-format", "text", "text or json")
}

// Load reads the settings that the flags, the environment and the file give.
func Load(flags *pflag.FlagSet) (Config, error) {
	k := koanf.New("\x00") // names have no levels
	path, err := filePath(flags)
	if err != nil {
		return Config{}, err
	}
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := k.Load(env.Provider("\x00", env.Opt{Prefix: envPrefix, TransformFunc: envSetting}), nil); err != nil {
		return Config{}, err
	}
	if err := k.Load(posflag.Provider(flags, "\x00", k), nil); err != nil {
		return Config{}, err
	}
	for _, name := range k.Keys() {
		if flags.Lookup(name) == nil {
			return Config{}, fmt.Errorf("unknown setting %q: see parley serve --help", name)
		}
	}
	var c Config
	if err := k.Unmarshal("", &c); err != nil {
		return Config{}, err
	}
	return c, c.check()
}

// serviceVariables are the ends of the variables by which Kubernetes tells every container of a service, which may be called
// parley, or parley-headless.
var serviceVariables = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)$`)

// envSetting is the setting of a variable; a name of "": it is none.
func envSetting(name, value string) (string, any) {
	if serviceVariables.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://") {
		return "", nil
	}
	name = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "_", "-")
	if name == flagOrigins || name == flagProxies || name == flagRoutes {
		return name, strings.Split(value, ",")
	}
	return name, value
}

// filePath finds the setting that is needed before the others are read.
func filePath(flags *pflag.FlagSet) (string, error) {
	path, err := flags.GetString(FlagFile)
	if path == "" {
		path = os.Getenv(envPrefix + "CONFIG")
	}
	return path, err
}

// check refuses what must not be combined.
func (c *Config) check() error {
	var errs []error
	switch c.Auth {
	case "dev":
		errs = append(errs, checkLoopback("listen", c.Listen), checkLoopback("grpc-listen", c.GRPCListen), c.NATS.checkDev())
	case "jwt":
	default:
		errs = append(errs, errors.New("--auth must be dev or jwt"))
	}
	errs = append(errs, c.checkDatabase(), c.NATS.check(), c.JWT.check(), c.Limits.check(), c.checkRunning(),
		checkPair("tls-cert", c.TLSCert, "tls-key", c.TLSKey))
	if _, err := c.TrustedProxies(); err != nil {
		errs = append(errs, err)
	}
	for _, origin := range c.CORSOrigins {
		if origin != "*" || c.Auth != "jwt" {
			errs = append(errs, checkOrigin(origin))
		}
	}
	return errors.Join(errs...)
}

// checkRunning looks at what the server tells, and how it stops.
func (c *Config) checkRunning() error {
	var errs []error
	if c.DrainDelay < 0 {
		errs = append(errs, errors.New("--drain-delay must not be negative"))
	}
	if c.DrainDelay > 0 && c.DrainDelay < time.Millisecond { // a number in the file, which is taken for nanoseconds
		errs = append(errs, errors.New("--drain-delay must have a unit, such as 5s"))
	}
	if c.Audit != "" && c.Audit != "log" && c.Audit != "off" {
		errs = append(errs, errors.New("--audit must be log or off"))
	}
	if _, err := c.Level(); err != nil {
		errs = append(errs, err)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, errors.New("--log-format must be text or json"))
	}
	return errors.Join(errs...)
}

func (c *Config) checkDatabase() error {
	if c.DatabaseURL == "" {
		return nil
	}
	return CheckDatabaseURL("database-url", c.DatabaseURL)
}

// CheckDatabaseURL looks at the value of a flag. It does not show it: it may have a password in it.
func CheckDatabaseURL(flag, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return fmt.Errorf("--%s: must be a URL such as postgres://user:password@host:5432/name", flag)
	}
	// Else a part of the password would be taken for a host or a database, and shown when that is not found.
	before, _, _ := strings.Cut(text, "?")
	authority, path, _ := strings.Cut(strings.TrimPrefix(before, u.Scheme+"://"), "/")
	if strings.Count(authority, "@") > 1 || strings.Contains(path, "@") {
		return fmt.Errorf("--%s: a user, password or name must have %%40 in the place of @, and %%2F in that of /", flag)
	}
	return nil
}

// check refuses settings of a server elsewhere beside those of one of our own, and what cannot be reached.
func (n *NATS) check() error {
	return errors.Join(n.checkTogether(), n.checkAddresses(), checkPair("nats-cert", n.Cert, "nats-key", n.Key))
}

func (n *NATS) checkTogether() error {
	own := n.Listen != "" || n.Leaf != "" || n.Cluster != "" || len(n.Routes) > 0
	elsewhere := n.URL != ""
	var errs []error
	refuse := func(bad bool, why string) {
		if bad {
			errs = append(errs, errors.New(why))
		}
	}
	refuse(!elsewhere && (n.Creds != "" || n.Cert != "" || n.API), "--nats-creds, --nats-cert and --nats-api need --nats-url")
	refuse(n.Mirror && !n.API, "--nats-mirror needs --nats-api")
	refuse(!elsewhere && n.Cluster == "" && n.CA != "", "--nats-ca needs --nats-url or --nats-cluster")
	refuse(elsewhere && own,
		"--nats-url: --nats-listen, --nats-leaf, --nats-cluster and --nats-routes are of the server inside of the process")
	refuse(len(n.Routes) > 0 && n.Cluster == "", "--nats-routes needs --nats-cluster")
	return errors.Join(errs...)
}

// checkAddresses shows none of the URLs: they may have passwords in them.
func (n *NATS) checkAddresses() error {
	for _, text := range n.URLs() {
		if u, err := url.Parse(text); err != nil || u.Host == "" {
			return errors.New("--nats-url: must be URLs such as nats://host:4222, with commas between")
		}
	}
	for _, route := range n.RouteAddresses() {
		if host, port, err := net.SplitHostPort(route); err != nil || host == "" || port == "" || strings.ContainsAny(route, "@/") {
			return errors.New("--nats-routes: must be like nats://host:6222, without a password, for nodes know one another by their server key")
		}
	}
	return nil
}

// checkDev refuses to make everyone the operator who can reach NATS from elsewhere.
func (n *NATS) checkDev() error {
	var errs []error
	for name, address := range map[string]string{"nats-listen": n.Listen, "nats-leaf": n.Leaf, "nats-cluster": n.Cluster} {
		if address != "" {
			errs = append(errs, checkLoopback(name, address))
		}
	}
	for _, text := range n.URLs() {
		if u, err := url.Parse(text); n.API && err == nil && !auth.IsLoopbackHost(u.Host) {
			errs = append(errs, errors.New("--nats-api: --auth dev answers on loopback only, and --nats-url is elsewhere"))
			break
		}
	}
	return errors.Join(errs...)
}

// URLs are those of --nats-url.
func (n *NATS) URLs() []string {
	if n.URL == "" {
		return nil
	}
	urls := strings.Split(n.URL, ",")
	for i := range urls {
		urls[i] = strings.TrimSpace(urls[i])
	}
	return urls
}

// RouteAddresses are the hosts and ports of --nats-routes.
func (n *NATS) RouteAddresses() []string {
	addresses := make([]string, len(n.Routes))
	for i, route := range n.Routes {
		addresses[i] = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(route), "nats://"), "nats-route://")
	}
	return addresses
}

func (j *JWT) check() error {
	given := 0
	for _, source := range []string{j.SecretFile, j.PublicKeyFile, j.JWKSURL, j.JWKSFile} {
		if source != "" {
			given++
		}
	}
	if given > 1 {
		return errors.New("--jwt-secret-file, --jwt-public-key-file, --jwt-jwks-url and --jwt-jwks-file: only one may be given")
	}
	if j.JWKSURL == "" {
		return nil
	}
	u, err := url.Parse(j.JWKSURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !auth.IsLoopbackHost(u.Host)) {
		return errors.New("--jwt-jwks-url: must be an https URL") // it may have a password in it
	}
	return nil
}

func (l *Limits) check() error {
	var errs []error
	for name, value := range map[string]int{
		"limit-requests": l.Requests, "limit-creates": l.Creates, "limit-publishes": l.Publishes, "limit-streams": l.Streams,
		"limit-address": l.Address, "quota-sessions": l.Sessions, "quota-streams": l.OpenStreams, "quota-bytes": l.BytesInFlight,
	} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("--%s must not be negative; 0 is no limit", name))
		}
	}
	return errors.Join(errs...)
}

func checkPair(name, value, otherName, other string) error {
	if (value == "") == (other == "") {
		return nil
	}
	return fmt.Errorf("--%s and --%s: one needs the other", name, otherName)
}

// TrustedProxies are the networks whose X-Forwarded-For is believed.
func (c *Config) TrustedProxies() ([]netip.Prefix, error) {
	networks := make([]netip.Prefix, 0, len(c.Proxies))
	for _, text := range c.Proxies {
		network, err := netip.ParsePrefix(text)
		if address, addressErr := netip.ParseAddr(text); addressErr == nil {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxy %s: must be a network such as 10.0.0.0/8", text)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// Audited tells whether changes and denials are recorded.
func (c *Config) Audited() bool { return c.Audit == "log" || c.Audit == "" && c.Auth != "dev" }

// Level is the least important level that is logged.
func (c *Config) Level() (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, errors.New("--log-level must be debug, info, warn or error")
	}
	return level, nil
}

func checkLoopback(flag, address string) error {
	if auth.IsLoopbackListen(address) {
		return nil
	}
	return fmt.Errorf("--%s %s: --auth dev listens on loopback only, such as 127.0.0.1:8080", flag, address)
}

func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || origin != u.Scheme+"://"+u.Host || strings.Contains(origin, "*") {
		return fmt.Errorf("--cors-origin %s: must be an origin such as https://app.example.com", origin)
	}
	return nil
}

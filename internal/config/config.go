// Package config reads the server's settings: defaults, then a configuration file, then PARLEY_* variables, then
// flags; the later ones win.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

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
	Listen      string   `koanf:"listen"`
	GRPCListen  string   `koanf:"grpc-listen"`
	DataDir     string   `koanf:"data-dir"`
	KeyFile     string   `koanf:"server-key-file"`
	Auth        string   `koanf:"auth"`
	CORSOrigins []string `koanf:"cors-origin"`
	LogLevel    string   `koanf:"log-level"`
	LogFormat   string   `koanf:"log-format"`
}

// FlagFile is the flag that names the configuration file.
const FlagFile = "config"

const flagOrigins = "cors-origin"

const envPrefix = "PARLEY_"

// Flags defines the flags of "parley serve", with their defaults.
func Flags(flags *pflag.FlagSet) {
	flags.String(FlagFile, "", "configuration file (YAML) with the same names as the flags")
	flags.String("listen", "127.0.0.1:8080", "address of REST and health checks")
	flags.String("grpc-listen", "127.0.0.1:9090", "address of gRPC, with health and reflection")
	flags.String("data-dir", "./parley-data", "directory of the database and the server key; made if need be")
	flags.String("server-key-file", "", "server key ring; default: server.key in the data directory, made if need be")
	flags.String("auth", "dev", "who is asking: dev (loopback only, everyone is the operator)")
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

func envSetting(name, value string) (string, any) {
	name = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "_", "-")
	if name == flagOrigins {
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
		errs = append(errs, checkLoopback("listen", c.Listen), checkLoopback("grpc-listen", c.GRPCListen))
	case "jwt":
		errs = append(errs, errors.New("--auth jwt is not built yet"))
	default:
		errs = append(errs, errors.New("--auth must be dev"))
	}
	if _, err := c.Level(); err != nil {
		errs = append(errs, err)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, errors.New("--log-format must be text or json"))
	}
	for _, origin := range c.CORSOrigins {
		errs = append(errs, checkOrigin(origin))
	}
	return errors.Join(errs...)
}

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

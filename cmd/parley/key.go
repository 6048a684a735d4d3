package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/keyfile"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// keySettings are the server's settings that matter for API keys, and serverKeySettings those for its own.
var (
	keySettings       = []string{config.FlagFile, "data-dir", "database-url"}
	serverKeySettings = []string{config.FlagFile, "data-dir", "database-url", "server-key-file"}
)

func keyCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "key",
		Short: "Make, list and revoke API keys",
		Long: `Make, list and revoke the API keys by which backends are known, in the data directory or in PostgreSQL. Servers may
run meanwhile: they take new keys, and refuse revoked ones, within a second. The settings are the server's, and are found
in the same places: flags, PARLEY_* variables, and the file that --config names.`,
		Args: cobra.NoArgs,
	}
	command.AddCommand(keyCreateCommand(), keyListCommand(), keyRevokeCommand(), keyRotateCommand())
	return command
}

// addSettings gives a command the server's settings, of which it shows those that matter for it.
func addSettings(command *cobra.Command, shown []string) {
	flags := command.Flags()
	config.Flags(flags)
	flags.VisitAll(func(flag *pflag.Flag) { flag.Hidden = !slices.Contains(shown, flag.Name) })
}

func keyCreateCommand() *cobra.Command {
	var role, name string
	command := &cobra.Command{
		Use:     "create",
		Short:   "Make an API key and print it, this once",
		Example: "  parley key create --role service --name billing",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			if err := errors.Join(checkRole(role), session.CheckUser("--name", name)); err != nil {
				return err
			}
			return createKey(command.Context(), command, settings, session.Role(role), name)
		},
	}
	addSettings(command, keySettings)
	command.Flags().StringVar(&role, "role", "", "what it may do: service (act as any user) or admin (everything)")
	command.Flags().StringVar(&name, "name", "", "what to call it, up to 128 bytes: also the user that it acts as unless it names another")
	return command
}

func checkRole(role string) error {
	switch session.Role(role) {
	case session.RoleService, session.RoleAdmin:
		return nil
	default:
		return errors.New("--role must be service or admin")
	}
}

// keyIDLength is the length of a key's id: 50 random bits, to tell keys apart.
const keyIDLength = 10

func createKey(ctx context.Context, command *cobra.Command, settings config.Config, role session.Role, name string) error {
	if settings.DatabaseURL == "" { // a key may be made before the server's first start
		if err := os.MkdirAll(settings.DataDir, 0o700); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	text, hash := auth.NewAPIKey()
	key := session.APIKey{
		ID: strings.ToLower(rand.Text()[:keyIDLength]), Name: name, Role: role, Hash: hash, CreateTime: session.Now(),
	}
	return withKeys(ctx, settings, func(ctx context.Context, keys apiKeys) error {
		if err := keys.Create(ctx, key); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(command.OutOrStdout(), text); err != nil { // whatever comes later, it is good
			return fmt.Errorf("the key %s was made, and could not be printed: revoke it: %w", key.ID, err)
		}
		noteKey(command.ErrOrStderr(), key, placeOf(settings), keys.Made())
		return nil
	})
}

// placeOf says where the keys are: a server that uses another place does not take them.
func placeOf(settings config.Config) string {
	if settings.DatabaseURL != "" {
		return "PostgreSQL database"
	}
	dir := settings.DataDir
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	return "data directory " + printable(dir)
}

func noteKey(to io.Writer, key session.APIKey, place string, madeStore bool) {
	fmt.Fprintf(to, "This is the %s key %s (%s) of the %s. It is shown this once.\n", key.Role, key.ID, printable(key.Name), place)
	if madeStore {
		fmt.Fprintln(to, "No store was there: a new one was made. If a server is to know the key already, then this is not its place.")
	}
}

// apiKeys are the API keys of a store of either engine.
type apiKeys interface {
	List(ctx context.Context) ([]session.APIKey, error)
	Create(ctx context.Context, key session.APIKey) error
	Revoke(ctx context.Context, idOrName string, at session.Time) (session.APIKey, error)
	Made() bool
	Close() error
}

// withKeys opens the keys that the settings name, for what is to be done with them.
func withKeys(ctx context.Context, settings config.Config, do func(context.Context, apiKeys) error) error {
	keys, err := openKeys(ctx, settings)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, keys), keys.Close())
}

func openKeys(ctx context.Context, settings config.Config) (apiKeys, error) {
	if settings.DatabaseURL != "" {
		return postgres.OpenKeys(ctx, settings.DatabaseURL)
	}
	return sqlite.OpenKeys(ctx, settings.DataDir)
}

// withPresentKeys is withKeys for what needs a store that is there: where there is none, none is made.
func withPresentKeys(ctx context.Context, settings config.Config, do func(context.Context, apiKeys) error) error {
	if settings.DatabaseURL != "" {
		state, err := postgres.Migrations(ctx, settings.DatabaseURL)
		if err != nil {
			return err
		}
		if state.Has == 0 {
			return errors.New("no server has used this database, and no key was made in it")
		}
	} else {
		if _, err := os.Stat(filepath.Join(settings.DataDir, sqlite.FileName)); err != nil {
			return fmt.Errorf("no server has used this data directory, and no key was made in it: %w", err)
		}
	}
	return withKeys(ctx, settings, do)
}

func keyListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List the API keys, also those that were revoked",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			return withPresentKeys(command.Context(), settings, func(ctx context.Context, keys apiKeys) error {
				list, err := keys.List(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printKeysJSON(command.OutOrStdout(), list)
				}
				return printKeys(command.OutOrStdout(), list)
			})
		},
	}
	addSettings(command, keySettings)
	command.Flags().BoolVar(&asJSON, "json", false, "print each as JSON, on a line of its own")
	return command
}

func printKeys(to io.Writer, list []session.APIKey) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tROLE\tCREATED\tREVOKED")
	for _, key := range list {
		revoked := "-"
		if key.RevokeTime != 0 {
			revoked = key.RevokeTime.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", key.ID, printable(key.Name), key.Role, key.CreateTime, revoked)
	}
	return table.Flush()
}

// printable quotes a name that would disturb a table.
func printable(name string) string {
	if quoted := fmt.Sprintf("%q", name); strings.ContainsAny(name, " \t") || quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// keyJSON is a key as the list prints it.
type keyJSON struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Role       string `json:"role"`
	CreateTime string `json:"createTime"`
	RevokeTime string `json:"revokeTime,omitempty"`
}

func printKeysJSON(to io.Writer, list []session.APIKey) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	for _, key := range list {
		line := keyJSON{ID: key.ID, Name: key.Name, Role: string(key.Role), CreateTime: key.CreateTime.String()}
		if key.RevokeTime != 0 {
			line.RevokeTime = key.RevokeTime.String()
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func keyRevokeCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "revoke ID-OR-NAME",
		Short: "Revoke an API key",
		Long:  "Revoke an API key for good. A server that runs refuses it within a second, and ends the streams that it opened.",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			return withPresentKeys(command.Context(), settings, func(ctx context.Context, keys apiKeys) error {
				key, err := keys.Revoke(ctx, args[0], session.Now())
				if err != nil {
					return err
				}
				fmt.Fprintf(command.ErrOrStderr(), "The key %s (%s) is revoked since %s.\n", key.ID, printable(key.Name), key.RevokeTime)
				return nil
			})
		},
	}
	addSettings(command, keySettings)
	return command
}

func keyRotateCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "rotate-server",
		Short: "Add a fresh key to the server's key ring",
		Long: `Add a fresh key to the server's key ring: the file that --server-key-file names, else the ring in PostgreSQL if
--database-url is given, else server.key in the data directory. A server takes it at its next start, and makes everything
with it from then on; what was made with the keys before stays good. Servers that share the ring must be given the new
file, and be restarted, together.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			ring, err := rotate(command.Context(), settings)
			if err != nil {
				return err
			}
			fmt.Fprintf(command.ErrOrStderr(),
				"%s has a fresh key. The server takes it at its next start; secretKeys that were set before go on working.\n", ring)
			return nil
		},
	}
	addSettings(command, serverKeySettings)
	return command
}

// rotate adds a key to the ring that the settings name, and says which one that is.
func rotate(ctx context.Context, settings config.Config) (ring string, err error) {
	switch {
	case settings.KeyFile != "":
		return settings.KeyFile, keyfile.Rotate(settings.KeyFile)
	case settings.DatabaseURL != "":
		return "The ring in PostgreSQL", postgres.RotateKeys(ctx, settings.DatabaseURL)
	default:
		path := filepath.Join(settings.DataDir, keyfile.FileName)
		return path, keyfile.Rotate(path)
	}
}

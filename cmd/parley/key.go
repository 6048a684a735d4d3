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
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// keySettings are the server's settings that matter for API keys, and serverKeySettings those for its own.
var (
	keySettings       = []string{config.FlagFile, "data-dir"}
	serverKeySettings = []string{config.FlagFile, "data-dir", "server-key-file"}
)

func keyCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "key",
		Short: "Make, list and revoke API keys",
		Long: `Make, list and revoke the API keys by which backends are known, in the data directory. A server may run meanwhile:
it takes new keys, and refuses revoked ones, within a second. The settings are the server's, and are found in the same
places: flags, PARLEY_* variables, and the file that --config names.`,
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
			return createKey(command.Context(), command, settings.DataDir, session.Role(role), name)
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

func createKey(ctx context.Context, command *cobra.Command, dir string, role session.Role, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil { // a key may be made before the server's first start
		return fmt.Errorf("data directory: %w", err)
	}
	text, hash := auth.NewAPIKey()
	key := session.APIKey{
		ID: strings.ToLower(rand.Text()[:keyIDLength]), Name: name, Role: role, Hash: hash, CreateTime: session.Now(),
	}
	return withKeys(ctx, dir, func(ctx context.Context, keys *sqlite.Keys) error {
		if err := keys.Create(ctx, key); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(command.OutOrStdout(), text); err != nil { // whatever comes later, it is good
			return fmt.Errorf("the key %s was made, and could not be printed: revoke it: %w", key.ID, err)
		}
		noteKey(command.ErrOrStderr(), key, dir, keys.Made())
		return nil
	})
}

// noteKey says which key was made, and where: a server that uses another directory does not take it.
func noteKey(to io.Writer, key session.APIKey, dir string, madeStore bool) {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	fmt.Fprintf(to, "This is the %s key %s (%s) of the data directory %s. It is shown this once.\n",
		key.Role, key.ID, printable(key.Name), printable(dir))
	if madeStore {
		fmt.Fprintln(to, "No store was there: a new one was made. If a server is to know the key already, then this is not its directory.")
	}
}

// withKeys opens the data directory's keys for what is to be done with them.
func withKeys(ctx context.Context, dir string, do func(context.Context, *sqlite.Keys) error) error {
	keys, err := sqlite.OpenKeys(ctx, dir)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, keys), keys.Close())
}

// withPresentKeys is withKeys for what needs a store that is there: where there is none, none is made.
func withPresentKeys(ctx context.Context, dir string, do func(context.Context, *sqlite.Keys) error) error {
	if _, err := os.Stat(filepath.Join(dir, sqlite.FileName)); err != nil {
		return fmt.Errorf("no server has used this data directory, and no key was made in it: %w", err)
	}
	return withKeys(ctx, dir, do)
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
			return withPresentKeys(command.Context(), settings.DataDir, func(ctx context.Context, keys *sqlite.Keys) error {
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
			return withPresentKeys(command.Context(), settings.DataDir, func(ctx context.Context, keys *sqlite.Keys) error {
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
		Long: `Add a fresh key to the server's key ring, the file that --server-key-file names or server.key in the data directory.
A server takes it at its next start, and makes everything with it from then on; what was made with the keys before stays
good. Servers that share the ring must be given the new file, and be restarted, together.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			path := settings.KeyFile
			if path == "" {
				path = filepath.Join(settings.DataDir, keyfile.FileName)
			}
			if err := keyfile.Rotate(path); err != nil {
				return err
			}
			fmt.Fprintf(command.ErrOrStderr(),
				"%s has a fresh key. The server takes it at its next start; secretKeys that were set before go on working.\n", path)
			return nil
		},
	}
	addSettings(command, serverKeySettings)
	return command
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/schema"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// storeSettings are the server's settings that say where the store is.
var storeSettings = []string{config.FlagFile, "data-dir", "database-url"}

func migrateCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Bring a store's tables up to date, or tell how far they are",
		Long: `Bring the tables of a store up to date, or tell how far they are. "parley serve" brings them up to date too when it starts;
this does so before. The settings are the server's, and are found in the same places: flags, PARLEY_* variables, and the
file that --config names.`,
		Args: cobra.NoArgs,
	}
	command.AddCommand(migrateUpCommand(), migrateStatusCommand())
	return command
}

func migrateUpCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "up",
		Short: "Make the tables, or bring them up to date",
		Long: `Make the tables of a store, or bring them up to date. In a data directory no server may run. In PostgreSQL servers may
run: one at a time changes the tables, and servers of the version before go on with the new ones.`,
		Example: "  parley migrate up --data-dir /var/lib/parley\n  parley migrate up --database-url postgres://parley@db/parley",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			if err := migrateUp(command.Context(), settings); err != nil {
				return err
			}
			return printSchema(command.Context(), command.OutOrStdout(), settings)
		},
	}
	addSettings(command, storeSettings)
	return command
}

func migrateUp(ctx context.Context, settings config.Config) error {
	if settings.DatabaseURL != "" {
		return postgres.Migrate(ctx, settings.DatabaseURL)
	}
	if err := os.MkdirAll(settings.DataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return sqlite.Migrate(ctx, settings.DataDir)
}

func migrateStatusCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "status",
		Short: "List the changes of the tables, and when each was made",
		Long: `List each change that this version of Parley makes in a store's tables, and when it was made there. Nothing is changed, and
servers may run.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			return printSchema(command.Context(), command.OutOrStdout(), settings)
		},
	}
	addSettings(command, storeSettings)
	return command
}

// printSchema tells how far a store is.
func printSchema(ctx context.Context, to io.Writer, settings config.Config) error {
	state, err := schemaOf(ctx, settings)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tNAME\tAPPLIED")
	missing := 0
	for _, migration := range state.Migrations {
		applied := "-"
		if !migration.Applied.IsZero() {
			applied = migration.Applied.Format("2006-01-02 15:04:05") // by the database's clock
		} else {
			missing++
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", migration.Version, migration.Name, applied)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	switch {
	case state.Newer() != nil:
		fmt.Fprintf(to, "Parley cannot use it: %v.\n", state.Newer())
	case state.Has == 0:
		fmt.Fprintln(to, "There is no store yet: parley migrate up, or parley serve, makes one.")
	case missing > 0:
		fmt.Fprintf(to, "%d to be made: by parley migrate up, or when parley serve starts.\n", missing)
	default:
		fmt.Fprintln(to, "The store is up to date.")
	}
	return nil
}

func schemaOf(ctx context.Context, settings config.Config) (*schema.State, error) {
	if settings.DatabaseURL != "" {
		return postgres.Migrations(ctx, settings.DatabaseURL)
	}
	return sqlite.Migrations(ctx, settings.DataDir)
}

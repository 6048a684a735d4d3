package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
)

func serveCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server. No flag is needed: it listens on loopback, keeps its data in ./parley-data, and takes
everyone for its operator. Each flag can also be given as a variable (--data-dir is PARLEY_DATA_DIR) or in the file
that --config names; flags beat variables, variables beat the file.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			log, err := newLog(command.ErrOrStderr(), settings)
			if err != nil {
				return err
			}
			server, err := app.New(command.Context(), settings, log)
			if err != nil {
				return err
			}
			return server.Run(command.Context())
		},
	}
	config.Flags(command.Flags())
	return command
}

func newLog(to io.Writer, settings config.Config) (*slog.Logger, error) {
	level, err := settings.Level()
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if settings.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options)), nil
	}
	return slog.New(slog.NewTextHandler(to, options)), nil
}

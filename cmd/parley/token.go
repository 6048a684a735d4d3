package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/config"
)

// tokenSettings are the server's settings that matter for a token.
var tokenSettings = []string{config.FlagFile, "jwt-secret-file", "jwt-issuer", "jwt-audience"}

func tokenCommand() *cobra.Command {
	var spec auth.TokenSpec
	command := &cobra.Command{
		Use:   "token",
		Short: "Make a token for a user",
		Long: `Make an HS256 token with the secret that the server has, and print it. The settings are the server's, and are
found in the same places: flags, PARLEY_* variables, and the file that --config names.`,
		Example: "  parley token --jwt-secret-file secret --user u1 --ttl 1h",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := config.Load(command.Flags())
			if err != nil {
				return err
			}
			return printToken(command, settings.JWT, spec)
		},
	}
	flags := command.Flags()
	config.Flags(flags)
	flags.VisitAll(func(flag *pflag.Flag) { flag.Hidden = !slices.Contains(tokenSettings, flag.Name) })
	flags.StringVar(&spec.User, "user", "", "user that the token is for: its sub")
	flags.DurationVar(&spec.TTL, "ttl", time.Hour, "for how long it is good, from 1s to 87600h")
	flags.StringSliceVar(&spec.Roles, "role", nil, "what it may do beyond a user: service (act as any user) or admin (everything); may repeat")
	return command
}

func printToken(command *cobra.Command, settings config.JWT, spec auth.TokenSpec) error {
	if settings.SecretFile == "" {
		return errors.New("no secret of tokens is configured: see --jwt-secret-file")
	}
	spec.Issuer, spec.Audience, spec.Now = settings.Issuer, settings.Audience, time.Now()
	token, err := auth.Mint(settings.SecretFile, spec)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(command.OutOrStdout(), token); err != nil {
		return fmt.Errorf("the token could not be printed: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/keyfile"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/store/transfer"
)

func copyCommand() *cobra.Command {
	var c copying
	var from, to string
	command := &cobra.Command{
		Use:   "copy",
		Short: "Move everything from one store to another, such as from a data directory to PostgreSQL",
		Long: `Copy everything that one store has to another that is empty: sessions, members, logs, requestIds, API keys and the key ring.
Cursors, page tokens, etags, requestIds and secretKeys stay good; only tickets, which live for seconds, are left behind.

A store is named sqlite:// and the path of a data directory (sqlite:///var/lib/parley, sqlite://parley-data), or of a file
in one to copy from; or postgres://user:password@host:port/name. A password is better given as the variable PGPASSWORD.

Stop all servers first. A data directory that a server uses is refused, and so is a database that one wrote to meanwhile.
The source is not changed. The target is a store once all is copied and counted; if the copy is broken off then nothing
of it is left.

The key ring goes with the data: from server.key or the database to server.key or the database. If the servers are given
--server-key-file, name that file here too: the ring is then only checked, and the new servers must be given the same file.`,
		Example: "  parley copy --from sqlite:///var/lib/parley --to postgres://parley@db/parley",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) (err error) {
			if c.from, err = parsePlace("from", from); err != nil {
				return err
			}
			if c.to, err = parsePlace("to", to); err != nil {
				return err
			}
			c.moved = newProgress(command.ErrOrStderr(), isTerminal(command.ErrOrStderr()), time.Now)
			begin := time.Now()
			counts, err := c.run(command.Context())
			if err != nil {
				return err
			}
			printCopied(command.OutOrStdout(), counts, time.Since(begin))
			c.printKeys(command.OutOrStdout())
			return nil
		},
	}
	command.Flags().StringVar(&from, "from", "", "the store to copy: sqlite://PATH or postgres://...")
	command.Flags().StringVar(&to, "to", "", "the empty store to make of it: sqlite://DIRECTORY or postgres://...")
	command.Flags().StringVar(&c.keyFile, "server-key-file", "", "the key ring that the servers are given, if it is not kept with the data")
	return command
}

// place is where a store is.
type place struct {
	path string // of a data directory, or of its file
	url  string // of a database, if path is empty
}

// parsePlace reads the value of a flag. It may have a password in it, so what is wrong with it is not repeated.
func parsePlace(flag, text string) (place, error) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case found && scheme == "sqlite" && rest != "":
		return place{path: rest}, nil
	case found && (scheme == "postgres" || scheme == "postgresql") && rest != "":
		return place{url: text}, config.CheckDatabaseURL(flag, text)
	default:
		return place{}, fmt.Errorf("--%s: must be sqlite:///path/of/a/data/directory or postgres://user:password@host:port/name", flag)
	}
}

// dir is the data directory of a place that has one.
func (p place) dir() string {
	path, err := filepath.EvalSymlinks(p.path)
	if err != nil {
		return p.path
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return filepath.Dir(path)
	}
	return p.path
}

func (p place) openSource(ctx context.Context) (transfer.Source, error) {
	if p.path != "" {
		return opened(sqlite.OpenSource(ctx, p.path))
	}
	return opened(postgres.OpenSource(ctx, p.url))
}

func (p place) openTarget(ctx context.Context) (transfer.Target, error) {
	if filepath.Base(p.path) == sqlite.FileName {
		return nil, fmt.Errorf("--to: %s: name the data directory, not the file that is to be made in it", p.path)
	}
	if p.path != "" {
		return openedTarget(sqlite.OpenTarget(ctx, p.path))
	}
	return openedTarget(postgres.OpenTarget(ctx, p.url))
}

// opened is the source, or nil: not a source that is a nil pointer.
func opened[S transfer.Source](source S, err error) (transfer.Source, error) {
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	return source, nil
}

func openedTarget[T transfer.Target](target T, err error) (transfer.Target, error) {
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	return target, nil
}

// copying is a copy that is made.
type copying struct {
	from, to place
	keyFile  string           // where the ring is, if not with the data
	keys     *session.KeyRing // nil: the source was never used with one
	moved    func(total, moved transfer.Counts)
}

func (c *copying) run(ctx context.Context) (counts transfer.Counts, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("broken off, and nothing was copied: %w", err)
		}
	}()
	source, err := c.from.openSource(ctx)
	if err != nil {
		return transfer.Counts{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := c.to.openTarget(ctx)
	if err != nil {
		return transfer.Counts{}, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	plan := transfer.Plan{From: source, To: target, Check: c.checkKeys, Ready: c.putKeys, Moved: c.moved}
	return plan.Run(ctx)
}

// checkKeys finds the ring of the source, checks that it is the one, and says what the target's database is to keep.
func (c *copying) checkKeys(settings *transfer.Settings) (err error) {
	if c.keys, err = c.findKeys(settings); err != nil || c.keys == nil {
		return err
	}
	if settings.Oldest != nil {
		if err := c.keys.Follows(settings.Oldest, settings.Newest); err != nil {
			return err
		}
	}
	settings.Ring = nil
	switch {
	case c.keyFile != "":
		return nil
	case c.to.path != "":
		return keyfile.Check(c.keyPath(), c.keys)
	default:
		settings.Ring = c.keys.Encode()
		if settings.Oldest == nil { // a database that has a ring also has this: see postgres.LoadKeys
			settings.Oldest, settings.Newest = c.keys.Fingerprint(), c.keys.Newest()
		}
		return nil
	}
}

// findKeys returns the source's ring; nil: it was never used with one.
func (c *copying) findKeys(settings *transfer.Settings) (*session.KeyRing, error) {
	switch {
	case c.keyFile != "":
		return keyfile.Load(c.keyFile, false)
	case settings.Ring != nil:
		return session.ParseKeyRing(settings.Ring)
	case c.from.path != "":
		keys, err := keyfile.Load(filepath.Join(c.from.dir(), keyfile.FileName), false)
		if errors.Is(err, fs.ErrNotExist) && settings.Oldest == nil {
			return nil, nil //nolint:nilnil // as the comment says
		}
		return keys, err
	case settings.Oldest != nil:
		return nil, errors.New("the key ring of this database is not kept in it, but in a file: name it by --server-key-file")
	default:
		return nil, nil //nolint:nilnil // as the comment says
	}
}

func (c *copying) keyPath() string { return filepath.Join(c.to.dir(), keyfile.FileName) }

// putKeys puts the ring into the target's data directory, before there is a store that needs it.
func (c *copying) putKeys() error {
	if c.keys == nil || c.keyFile != "" || c.to.path == "" {
		return nil
	}
	return keyfile.Put(c.keyPath(), c.keys)
}

// printKeys says where the servers find the key ring.
func (c *copying) printKeys(to io.Writer) {
	switch {
	case c.keys == nil:
	case c.keyFile != "":
		fmt.Fprintf(to, "The key ring was not copied: start the servers with --server-key-file %s.\n", c.keyFile)
	case c.to.path != "":
		fmt.Fprintf(to, "The key ring is in %s.\n", c.keyPath())
	default:
		fmt.Fprintln(to, "The key ring is in the database.")
	}
}

func printCopied(to io.Writer, n transfer.Counts, took time.Duration) {
	fmt.Fprintf(to, "Copied %d sessions, %d members, %d events, %d ended sessions, %d requestIds and %d API keys in %v; all were counted.\n",
		n.Sessions, n.Members, n.Events, n.Ended, n.Requests, n.APIKeys, took.Round(time.Millisecond))
}

func isTerminal(to io.Writer) bool {
	file, ok := to.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Command parley is a conversation session server.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	tune()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "parley:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and with it what stop would undo
	}
}

// tune sets what the runtime cannot know, unless the environment says otherwise. The numbers were measured with many
// concurrent creates.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // the live heap is small: collecting at twice its size is collecting all the time
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) // one may be held by a thread that waits for the disk
	}
}

// run runs the command line, until it is done or the context ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "parley",
		Short:         "A conversation session server",
		Version:       versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand())
	root.AddCommand(keyCommand()) //nolint:contextcheck // its commands have the context that they are executed with
	root.AddCommand(tokenCommand())
	root.AddCommand(migrateCommand(), copyCommand()) //nolint:contextcheck // as above
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// version is set by the linker.
var version string

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

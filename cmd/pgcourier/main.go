// Command pgcourier exports PostgreSQL schemas on request events: it takes
// backup.requested from NATS JetStream, runs a validated pg_dump of the project's schemas
// into storage, and publishes backup.completed or backup.failed.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/pgcourier/pgcourier/internal/sandbox"
)

func main() { os.Exit(mainCode()) }

// mainCode runs the command line and returns its exit code, so that deferred calls run
// before the process ends.
func mainCode() int {
	sandbox.Enter()
	sandbox.ForbidCores()
	// The first signal asks for an orderly end; NotifyContext's stop lets the second kill.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], process{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
}

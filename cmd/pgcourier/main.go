// Command pgcourier exports PostgreSQL schemas on request events: it takes
// backup.requested from NATS JetStream, runs a validated pg_dump of the project's schemas
// into storage, and publishes backup.completed or backup.failed.
package main

import (
	"context"
	"fmt"
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
	if code, done := sandbox.Init(); done {
		return code
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	endOnSignals(cancel)
	return run(ctx, os.Args[1:], process{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
}

// endOnSignals asks for an orderly end at the first signal, and ends the process at the second
// with the exit code that a shell gives to that. SIGHUP counts as a first signal only: systemd
// can send it along with SIGTERM. Where it was ignored at start, as by nohup, it stays so.
func endOnSignals(cancel context.CancelFunc) {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	came := make(chan os.Signal, 1)
	signal.Notify(came, all...)
	go func() {
		<-came
		cancel()
		for s := range came {
			if number, ok := s.(syscall.Signal); ok && number != syscall.SIGHUP {
				fmt.Fprintln(os.Stderr, "pgcourier: ended at once by a second signal:", s)
				os.Exit(exitSignalled + int(number))
			}
		}
	}()
}

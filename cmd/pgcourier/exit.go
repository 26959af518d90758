package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/term"
)

// The exit codes, documented in the root command's help and in docs/settings.md.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnverified  = 4
	exitUnreachable = 5
	exitNotPossible = 6
	// exitSignalled and the signal's number: a second signal ended the process. As the first
	// process of a container it cannot die by the signal itself.
	exitSignalled = 128
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed"},
	{exitUsage, "wrong usage or configuration"},
	{exitNotFound, "not found"},
	{exitUnverified, "verification failed"},
	{exitUnreachable, "broker, database or storage unreachable"},
	{exitNotPossible, "not possible: a request that ended, runs or cannot be replayed; schedules unsupported"},
}

// exitCodesText lists the exit codes for the help.
func exitCodesText() string {
	var b strings.Builder
	b.WriteString("Exit codes:")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "\n  %d  %s", c.code, c.meaning)
	}
	return b.String()
}

// exitError is an error with its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exit gives an error its exit code; nil stays nil.
func exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

func exitf(code int, format string, args ...any) error {
	return exit(code, fmt.Errorf(format, args...))
}

// run executes one command line and returns its exit code. Only this function prints
// errors.
func run(ctx context.Context, args []string, p process) int {
	root := newRoot(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	text := err.Error()
	if term.IsTerminal(p.stderr) {
		text = term.SanitizeLines(text) // a server's or a storage's words may hold escape sequences
	}
	fmt.Fprintln(p.stderr, "pgcourier: "+strings.ReplaceAll(text, "\n", "\n  "))
	if coded, ok := errors.AsType[*exitError](err); ok {
		return coded.code
	}
	// An error without a code comes from cobra: a command, flag or argument that it refuses.
	return exitUsage
}

// coded wraps a command's function: its error gets the exit code that it means.
func coded(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		if _, ok := errors.AsType[*exitError](err); ok {
			return err
		}
		return exit(exitCode(err), err)
	}
}

// exitCode returns the exit code that an error means. A fault that the user must correct
// outweighs damage, and damage outweighs what may pass.
func exitCode(err error) int {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	coded, isCoded := errors.AsType[*exitError](err)
	_, setting := errors.AsType[*config.Error](err)
	_, ambiguous := errors.AsType[*destinations.AmbiguousError](err)
	_, invalid := errors.AsType[*events.InvalidError](err)
	switch {
	case isCoded:
		return coded.code
	case setting, ambiguous, invalid, is(storage.ErrSealed, restore.ErrIdentity, restore.ErrPlacement, storage.ErrRefused, handover.ErrBadLink, replay.ErrAmbiguous, broker.ErrSchedulePattern, broker.ErrScheduleZone):
		return exitUsage
	case is(destinations.ErrNoExport, queue.ErrUnknown, replay.ErrUnknown, broker.ErrNoSchedule, access.ErrNoToken, handover.ErrNoLink, handover.ErrNoExport):
		return exitNotFound
	case is(queue.ErrDelivered, replay.ErrNotFailed, replay.ErrNotReplayable, retention.ErrBusy, broker.ErrScheduleExists, broker.ErrScheduleChanged, broker.ErrNoSchedules, broker.ErrNotSetUp):
		return exitNotPossible
	case is(restore.ErrUnverified, receipt.ErrWrong, storage.ErrDamaged, storage.ErrForeign, storage.ErrVersion, storage.ErrNotFound):
		return exitUnverified
	case is(storage.ErrUnavailable, restore.ErrTarget, restore.ErrBusy, restore.ErrInUse, restore.ErrUnknown, export.ErrLedgerUnavailable, broker.ErrUnreachable, broker.ErrUnauthorized, server.ErrNoServer, events.ErrUnavailable):
		return exitUnreachable
	}
	return exitFailed
}

// worst joins errors under one exit code: a damaged export outweighs a copy that could not be
// read.
func worst(faults []error) error {
	code := 0
	for _, err := range faults {
		if c := exitCode(err); code == 0 || c == exitUnverified {
			code = c
		}
	}
	return exit(max(code, exitFailed), errors.Join(faults...))
}

package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
)

// MainCode is what main calls, for the test binary to be a pgcourier.
var MainCode = mainCode

// Topology is what the roles of a configuration need of the broker.
var Topology = setup.Topology

// CommandTree is the whole command line, for tests of what others write for it.
func CommandTree() *cobra.Command {
	return newRoot(process{stdout: io.Discard, stderr: io.Discard})
}

// Examine is doctor with another clock.
func Examine(ctx context.Context, environ []string, now func() time.Time, only ...string) ([]doctor.Finding, error) {
	c, err := config.Load(environ, nil)
	if err != nil {
		return nil, err
	}
	return doctor.Examine(ctx, doctor.Config{Settings: c, Now: now, Only: only}), nil
}

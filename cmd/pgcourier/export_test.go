package main

import (
	"io"

	"github.com/spf13/cobra"
)

// MainCode is what main calls, for the test binary to be a pgcourier.
var MainCode = mainCode

// Topology is what the roles of a configuration need of the broker.
var Topology = topology

// CommandTree is the whole command line, for tests of what others write for it.
func CommandTree() *cobra.Command {
	return newRoot(process{stdout: io.Discard, stderr: io.Discard})
}

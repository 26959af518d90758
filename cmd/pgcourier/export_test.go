package main

import (
	"io"

	"github.com/spf13/cobra"
)

// MainCode is what main calls, for the test binary to be a pgcourier.
var MainCode = mainCode

// CommandTree is the whole command line, for tests of what others write for it.
func CommandTree() *cobra.Command {
	return newRoot(process{stdout: io.Discard, stderr: io.Discard})
}

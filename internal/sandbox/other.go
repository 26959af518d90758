//go:build !linux

package sandbox

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
)

// errSystem is the ErrUnavailable of systems without namespaces.
var errSystem = fmt.Errorf("%w: it needs Linux, this is %s", ErrUnavailable, runtime.GOOS)

// Enter is called first in main. Only Linux has sandboxes: it does nothing.
func Enter() {}

// Init does nothing here: containers are Linux.
func Init() (code int, done bool) { return 0, false }

// Wrap returns ErrUnavailable.
func (Box) Wrap(*exec.Cmd) error { return errSystem }

// Probe returns ErrUnavailable.
func Probe(context.Context) error { return errSystem }

// ProbeLandlock returns ErrUnavailable.
func ProbeLandlock(context.Context) error { return errSystem }

// ForbidCores does nothing here.
func ForbidCores() {}

// SetNondumpable does nothing here.
func SetNondumpable() error { return nil }

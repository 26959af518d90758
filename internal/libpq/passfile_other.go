//go:build !linux

package libpq

import (
	"errors"
	"os"
)

// descriptors is the folder of a process's own open files.
const descriptors = "/dev/fd/"

// memoryFile fails: only Linux has files in memory.
func memoryFile() (*os.File, error) { return nil, errors.ErrUnsupported }

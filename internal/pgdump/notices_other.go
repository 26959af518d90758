//go:build !linux

package pgdump

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchFolder fails: only Linux reports closed files. A worker needs Linux.
func watchFolder(string) (*os.File, error) {
	return nil, fmt.Errorf("watch the spool: %w", errors.ErrUnsupported)
}

func readNotices([]byte) ([]notice, error) { return nil, errors.ErrUnsupported }

// openUnnamed fails: only Linux has files without a name.
func openUnnamed(string) (int, error) { return -1, unix.EOPNOTSUPP }

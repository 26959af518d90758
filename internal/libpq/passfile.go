package libpq

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// newPassfile makes the passfile for one child: a file in memory that has no name. The
// caller closes it once the child has it. libpq accepts it only as a regular file of mode
// 0600. The wildcards are safe: the child connects to the source alone.
func newPassfile(password string) (*os.File, error) {
	f, err := memoryFile()
	if err != nil {
		var unnamed error
		if f, unnamed = unnamedFile(); unnamed != nil {
			return nil, fmt.Errorf("make a passfile: %w", errors.Join(err, unnamed))
		}
	}
	line := "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password) + "\n"
	if err := errors.Join(f.Chmod(0o600), writeAll(f, line)); err != nil {
		return nil, errors.Join(fmt.Errorf("write the passfile: %w", err), f.Close())
	}
	return f, nil
}

// unnamedFile is for systems without memory files: a file of mode 0600 on disk. Its name is
// removed before anything is written.
func unnamedFile() (*os.File, error) {
	f, err := os.CreateTemp("", ".pgcourier-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func writeAll(f *os.File, s string) error {
	_, err := f.WriteString(s)
	return err
}

package libpq

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// descriptors is the folder of a process's own open files.
const descriptors = "/proc/self/fd/"

func memoryFile() (*os.File, error) {
	// Kernels from 6.3 on can be told to refuse memory files without MFD_NOEXEC_SEAL;
	// older ones do not know the flag.
	fd, err := unix.MemfdCreate("pgcourier", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("pgcourier", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), "passfile"), nil
}

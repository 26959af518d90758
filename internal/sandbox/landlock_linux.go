package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The versions of Landlock's ABI (landlock(7)) that bring what is used here.
const (
	abiTCP    = 4 // Linux 6.7: TCP; files in the versions before
	abiIoctl  = 5 // Linux 6.10: ioctl on devices
	abiScopes = 6 // Linux 6.12: signals and abstract sockets of other processes
)

// The rights to files.
const (
	readRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	fileRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// allRights are those of abiTCP.
	allRights = unix.LANDLOCK_ACCESS_FS_TRUNCATE<<1 - 1
)

// ProbeLandlock starts a program in a box of Landlock and reports ErrUnavailable with the reason if that
// fails. Root gets none: its programs run as other users, which could not reach the folders of the box
// under their own paths.
func ProbeLandlock(ctx context.Context) error {
	if os.Geteuid() == 0 {
		return fmt.Errorf("%w: Landlock is for users other than root", ErrUnavailable)
	}
	return probe(ctx, Box{Landlock: true})
}

// become confines this process by Landlock, gives up every right, and replaces it by the program.
func (b Box) become(program string, args []string) error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno != 0:
		return fmt.Errorf("ask for Landlock: %w", errno)
	case abi < abiTCP:
		return fmt.Errorf("the kernel has version %d of Landlock, needed is %d (Linux 6.7)", abi, abiTCP)
	}
	rules, err := b.ruleset(int(abi)) // before drop, because the folders may belong to this user
	if err != nil {
		return err
	}
	inherited := handOver(b)
	if err := b.drop(); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rules), 0, 0); errno != 0 {
		return fmt.Errorf("confine by Landlock: %w", errno)
	}
	err = syscall.Exec(program, args, os.Environ()) //nolint:gosec // the caller's own program
	runtime.KeepAlive(inherited)
	return fmt.Errorf("start the program: %w", err)
}

// ruleset makes the rules of the box. The descriptor is closed by the program's start.
func (b Box) ruleset(abi int) (fd int, err error) {
	attr := struct{ files, net, scopes uint64 }{files: allRights}
	size := unsafe.Offsetof(attr.scopes)
	if abi >= abiIoctl {
		attr.files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if !b.Network {
		attr.net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= abiScopes {
		attr.scopes, size = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|unix.LANDLOCK_SCOPE_SIGNAL, unsafe.Sizeof(attr)
	}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // the system call takes a struct
	if errno != 0 {
		return 0, fmt.Errorf("make Landlock rules: %w", errno)
	}
	fd = int(rules)
	unix.CloseOnExec(fd)
	readOnly := slices.Concat(system, b.ReadOnly)
	if b.Network {
		readOnly = append(readOnly, network...)
	}
	for _, path := range readOnly {
		err = errors.Join(err, allow(fd, path, readRights))
	}
	// A server has its shared memory in /dev/shm.
	for _, path := range slices.Concat(devices, b.Writable, []string{"/dev/shm"}) {
		err = errors.Join(err, allow(fd, path, attr.files))
	}
	return fd, err
}

// allow adds the rights to a file, or to all of a folder. A missing one is left out.
func allow(rules int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}                                                                                  //nolint:gosec // a descriptor
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 { //nolint:gosec // as above
		return fmt.Errorf("allow %s: %w", path, errno)
	}
	return nil
}

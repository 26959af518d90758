package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// system is what programs need of the machine: themselves and their libraries, read-only.
var system = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
	"/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime", "/etc/alternatives"}

// network is what they need besides to find a host and to trust it.
var network = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/services", "/etc/ssl", "/etc/pki"}

var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// The old root and the new one, while the new one is built.
const (
	oldRoot = "/old"
	newRoot = "/new"
	// open lets any user through the folders of the new root.
	open fs.FileMode = 0o755
)

// build makes the new root and leaves the old one.
func (b Box) build() error {
	defer unix.Umask(unix.Umask(0o022)) // the program's user must get through the folders
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// A place to build in; what /tmp holds comes to light again under the old root.
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a new root: %w", err)
	}
	if err := errors.Join(os.Mkdir("/tmp"+oldRoot, 0o700), os.Mkdir("/tmp"+newRoot, open), unix.PivotRoot("/tmp", "/tmp"+oldRoot), os.Chdir("/")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := b.fill(); err != nil {
		return err
	}
	if err := unix.Mount(newRoot, newRoot, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind the new root: %w", err)
	}
	if err := errors.Join(os.Chdir(newRoot), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/")); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return nil
}

func (b Box) fill() error {
	// First, because folders of theirs may be bound.
	for _, path := range []string{"/tmp", "/dev/shm"} {
		if err := mountAt(path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
			return err
		}
	}
	readOnly := slices.Concat(system, b.ReadOnly)
	if b.Network {
		readOnly = append(readOnly, network...)
	}
	for _, path := range readOnly {
		if err := bind(path, true); err != nil {
			return err
		}
	}
	for _, path := range b.Writable {
		if err := bind(path, false); err != nil {
			return err
		}
	}
	for _, path := range devices {
		if err := place(oldRoot+path, newRoot+path, false); err != nil {
			return fmt.Errorf("place %s: %w", path, err)
		}
		if err := unix.Mount(oldRoot+path, newRoot+path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
	}
	// Read-only: without rights, root's own user could still write the kernel's settings.
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mountAt("/proc", "proc", flags, ""); err != nil {
		return err
	}
	if err := unix.Mount("", newRoot+"/proc", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return fmt.Errorf("make /proc read-only: %w", err)
	}
	return nil
}

func mountAt(path, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(newRoot+path, open); err != nil {
		return err
	}
	if err := unix.Mount(kind, newRoot+path, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// bind shows one path of the old root under the same name. A symbolic link is made again.
func bind(path string, readOnly bool) error {
	path = filepath.Clean(path)
	info, err := os.Lstat(oldRoot + path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(oldRoot + path)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(newRoot+path), open)
		}
		if err == nil {
			err = os.Symlink(to, newRoot+path)
		}
		return err
	}
	if err := place(oldRoot+path, newRoot+path, info.IsDir()); err != nil {
		return fmt.Errorf("place %s: %w", path, err)
	}
	if err := unix.Mount(oldRoot+path, newRoot+path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(newRoot+path, &st); err != nil {
		return fmt.Errorf("look at the mount of %s: %w", path, err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	// Restrictions of the machine must stay in place, or the kernel refuses.
	set := uintptr(st.Flags) //nolint:gosec // bits, not a number
	flags |= set & (unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if st.Flags&unix.ST_RELATIME != 0 {
		flags |= unix.MS_RELATIME
	}
	if err := unix.Mount("", newRoot+path, "", flags, ""); err != nil {
		return fmt.Errorf("restrict %s: %w", path, err)
	}
	return nil
}

// place makes what something can be mounted on.
func place(from, at string, folder bool) error {
	if folder {
		return os.MkdirAll(at, open)
	}
	if err := os.MkdirAll(filepath.Dir(at), open); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // an empty file to mount from over
	if err != nil {
		return fmt.Errorf("for %s: %w", from, err)
	}
	return f.Close()
}

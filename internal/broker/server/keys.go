package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nats-io/nkeys"
)

const (
	keysFolder = "keys"
	keySuffix  = ".nk"
)

// KeysDir returns the folder of the embedded server's keys in a data folder.
func KeysDir(dataDir string) string { return filepath.Join(dataDir, keysFolder) }

// KeyFile returns the path of a user's key in a folder of keys. The file holds one line, an nkey
// seed.
func KeyFile(dir string, u User) string { return filepath.Join(dir, string(u)+keySuffix) }

// PublicKeys are the public keys of the users, with which a server identifies them.
type PublicKeys map[User]string

// EnsureKeys returns the public keys of users. It generates a key that is missing in dir and keeps
// the existing ones. The folder is made with mode 0700 and each file with 0600. EnsureKeys removes
// the rights of other users from an existing file and logs that, because another user may have read
// it: delete the file to get a new key. It refuses a path that is not a regular file of this
// process's user.
func EnsureKeys(dir string, users []User, log *slog.Logger) (PublicKeys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of broker keys: %w", err)
	}
	if err := closeToOthers(dir, fs.ModeDir|0o700, log); err != nil {
		return nil, err
	}
	keys := PublicKeys{}
	for _, u := range users {
		file := KeyFile(dir, u)
		err := closeToOthers(file, 0o600, log)
		if errors.Is(err, fs.ErrNotExist) {
			err = generateKey(file)
		}
		if err != nil {
			return nil, err
		}
		if keys[u], err = publicKey(file); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// closeToOthers checks the owner of a file or folder and removes all rights of other users.
func closeToOthers(path string, want fs.FileMode, log *slog.Logger) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at broker key: %w", err)
	}
	if info.Mode().Type() != want.Type() {
		return fmt.Errorf("broker key %s is not a plain file or folder (%s): remove it", path, info.Mode().Type())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int64(stat.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("broker key %s belongs to user %d, this process runs as %d", path, stat.Uid, os.Geteuid())
	}
	if info.Mode() == want {
		return nil
	}
	if err := os.Chmod(path, want.Perm()); err != nil {
		return fmt.Errorf("close broker key to others: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		log.Warn("broker key was open to other users and was closed, delete it to have a new one made", "path", path, "mode", info.Mode().Perm().String())
	}
	return nil
}

// generateKey writes by rename, so that a crash leaves no partial key.
func generateKey(file string) error {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("generate broker key: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return fmt.Errorf("generate broker key: %w", err)
	}
	tmp := file + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("generate broker key: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator's own folder
	if err != nil {
		return fmt.Errorf("write broker key: %w", err)
	}
	_, err = f.Write(append(seed, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		return fmt.Errorf("write broker key: %w", err)
	}
	return nil
}

func publicKey(file string) (string, error) {
	seed, err := os.ReadFile(file) // #nosec G304 -- the operator's own folder
	if err != nil {
		return "", fmt.Errorf("read broker key: %w", err)
	}
	defer clear(seed)
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
	if err != nil {
		return "", fmt.Errorf("broker key %s is no nkey seed (%w): delete it to have a new one made", file, err)
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return "", fmt.Errorf("broker key %s is not a user's: delete it to have a new one made", file)
	}
	return public, nil
}

// KeyError says that a user's key cannot be read, and which system user can read it.
type KeyError struct {
	User  User
	File  string
	Owner int // user id that owns the file or its folder; -1: unknown
	Err   error
}

func (e *KeyError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission) && e.Owner >= 0:
		return fmt.Sprintf("the broker's key of the user %s, %s, can be read by the user with id %d only, the user of the broker: run as that user, or ask for a copy of that one file", e.User, e.File, e.Owner)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("the broker's key of the user %s, %s, cannot be read by this user: run as the user of the broker, or ask for a copy of that one file", e.User, e.File)
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("there is no broker key of the user %s: %s is missing", e.User, e.File)
	}
	return fmt.Sprintf("broker key of the user %s: %v", e.User, e.Err)
}

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// FindKey returns the path of u's key in a folder of keys if it is readable. Otherwise it returns a
// *KeyError.
func FindKey(dir string, u User) (string, error) {
	file := KeyFile(dir, u)
	f, err := os.Open(file) // #nosec G304 -- the operator's own folder
	if err == nil {
		return file, f.Close()
	}
	return "", &KeyError{User: u, File: file, Owner: owner(file, dir, filepath.Dir(dir)), Err: err}
}

// owner returns the owner of the first path that exists and can be inspected.
func owner(paths ...string) int {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				return int(stat.Uid)
			}
		}
	}
	return -1
}

package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/pgcourier/pgcourier/internal/storage"
)

func (d *folder) find(ctx context.Context, n storage.Name) (storage.Ref, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := n.Check(); err != nil {
		return "", err
	}
	name := n.String()
	if err := d.checkParents(name); err != nil {
		return "", err
	}
	if _, err := d.root.Lstat(name); err != nil {
		return "", wrap(err)
	}
	return storage.Ref(name), nil
}

// names passes over links, special files and folders that we would not have made
// ("lost+found", ".snapshot").
func (d *folder) names(ctx context.Context) iter.Seq2[storage.Name, error] {
	return func(yield func(storage.Name, error) bool) {
		err := fs.WalkDir(d.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
			if ctxErr := ctx.Err(); ctxErr != nil {
				return ctxErr
			}
			if e != nil && e.IsDir() && name != "." && storage.CheckKey(name) != nil {
				return fs.SkipDir
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			n, err := storage.ParseName(name)
			if err == nil && !yield(n, nil) {
				return fs.SkipAll
			}
			return nil // not one of ours
		})
		if ctx.Err() == nil {
			err = wrap(err)
		}
		if err != nil {
			yield(storage.Name{}, err)
		}
	}
}

func (d *folder) delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	name, err := parse(ref)
	if err != nil {
		return storage.Absent, err
	}
	if err := ctx.Err(); err != nil {
		return storage.Absent, err
	}
	done, err := d.remove(name)
	if err != nil || done == storage.Absent {
		return done, err
	}
	return done, d.syncParent(name)
}

// remove unlinks one file, or a link that was put in its place, and never the link's target.
func (d *folder) remove(name string) (storage.Deletion, error) {
	err := d.checkParents(name)
	if err == nil {
		info, lstatErr := d.root.Lstat(name)
		if lstatErr == nil && info.IsDir() {
			return storage.Absent, nil // a folder is never a blob
		}
		err = wrap(d.root.Remove(name))
	}
	switch {
	case err == nil:
		return storage.Deleted, nil
	case errors.Is(err, storage.ErrNotFound):
		return storage.Absent, nil
	}
	return storage.Absent, err
}

// syncParent makes a removal durable.
func (d *folder) syncParent(name string) error {
	f, err := d.root.Open(path.Dir(name))
	if err != nil {
		return wrap(err)
	}
	return errors.Join(syncDir(f), f.Close())
}

// sweep recognises staging files by a hash of the key, whichever process left them.
func (d *folder) sweep(ctx context.Context, key string) (storage.Deletion, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Absent, err
	}
	names, err := d.ofKey(key)
	if err != nil {
		return storage.Absent, err
	}
	result := storage.Absent
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		done, err := d.remove(name)
		if err != nil {
			return result, fmt.Errorf("remove %s: %w", name, err)
		}
		result = max(result, done)
	}
	if result == storage.Absent {
		return result, nil
	}
	err = d.syncParent(key)
	if errors.Is(err, storage.ErrNotFound) {
		return result, nil // only staging, and its folder was never made
	}
	return result, err
}

// ofKey lists what lies under key, the manifest first.
func (d *folder) ofKey(key string) ([]string, error) {
	manifest := storage.Name{Key: key, Kind: storage.Manifest}.String()
	names := []string{
		manifest, storage.Name{Key: key, Kind: storage.Receipt}.String(), storage.Name{Key: key, Kind: storage.Verification}.String(), key,
	}
	if err := d.checkParents(key); err == nil {
		found, err := d.entries(path.Dir(key))
		if err != nil {
			return nil, err
		}
		for _, base := range found {
			n, err := storage.ParseName(path.Join(path.Dir(key), base))
			if err == nil && n.Key == key && n.Part > 0 {
				names = append(names, n.String())
			}
		}
	} else if !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	staged, err := d.entries(stagingDir)
	if err != nil {
		return nil, err
	}
	for _, base := range staged {
		if strings.HasPrefix(base, stagingPrefix(key)) {
			names = append(names, path.Join(stagingDir, base))
		}
	}
	return names, nil
}

// entries lists a folder; one that does not exist is empty.
func (d *folder) entries(dir string) (names []string, err error) {
	if dir != "." {
		if err := d.checkDir(dir); errors.Is(err, storage.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	f, err := d.root.Open(dir)
	if err != nil {
		return nil, wrap(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	names, err = f.Readdirnames(-1)
	return names, wrap(err)
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// checkDisks looks at what is free where this machine keeps anything, against the largest
// recent export.
func (x *examiner) checkDisks(ctx context.Context, r *Report) {
	stored, spooled := x.largest(ctx)
	x.checkDisk("data", x.Settings.DataDir, 0, r)
	x.checkDisk("spool", x.Settings.Spool(), min(spooled, int64(x.Settings.SpoolBytes)), r)
	if err := pgdump.CheckTar(); err != nil {
		r.Add("tar", Finding{
			State: Warning, Found: "no folder /tmp that this user may write to: exports of format tar fail",
			Fix: "make /tmp writable for the worker, with room for the largest table, or ask for another format",
		})
	} else {
		x.checkDisk("tar", "/tmp", 0, r)
	}
	found, err := x.placements()
	if err != nil {
		return // the storage's own check says so
	}
	for _, p := range found {
		if folder, ok := p.Folder(); ok {
			x.checkDisk(p.Name, folder, stored, r)
		}
	}
}

func (x *examiner) checkDisk(part, folder string, largest int64, r *Report) {
	have, err := space(folder)
	if err != nil {
		r.Add(part, Finding{State: Unknown, Found: err.Error(), Fix: "let this user look at " + folder})
		return
	}
	r.Add(part, Room(have, largest))
}

// space is what is free for this user where a folder is, or will be once it is made.
func space(folder string) (Space, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return Space{}, err
	}
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(folder, &s)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(folder) != folder {
			folder = filepath.Dir(folder)
			continue
		}
		if err != nil {
			return Space{}, fmt.Errorf("look at the disk of %s: %w", folder, err)
		}
		have := Space{Free: int64(s.Bavail) * int64(s.Bsize), Files: -1} //nolint:gosec,unconvert // no disk has so many blocks; Bsize is narrower on other systems
		if s.Files > 0 {                                                 // else the file system makes as many as it likes
			have.Files = int64(s.Ffree) //nolint:gosec // as above
		}
		return have, nil
	}
}

// largest are the bytes of the largest export of the last thirty days as it was stored, and
// of the largest one of format directory, which was in the spool; 0: not known.
func (x *examiner) largest(ctx context.Context) (stored, spooled int64) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // the disks are looked at all the same
	defer cancel()
	l, err := x.ledger(ctx)
	if err != nil {
		return 0, 0
	}
	entries, err := l.List(ctx, ledger.Filter{States: []export.State{export.Completed}, Since: 30 * 24 * time.Hour, Limit: 500})
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		if e.Outcome == nil || e.Outcome.Artifact == nil {
			continue
		}
		a := e.Outcome.Artifact
		if stored = max(stored, a.StoredBytes); a.Format == export.Directory {
			spooled = max(spooled, a.SizeBytes)
		}
	}
	return stored, spooled
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// placements are the destinations of STORAGE.
func (x *examination) placements() ([]destinations.Location, error) {
	urls, err := x.config.StorageURLs()
	if err != nil {
		return nil, err
	}
	return destinations.Parse(urls)
}

// storageChecks are one for each destination, so that none waits for another.
func (x *examination) storageChecks() []doctor.Check {
	places, err := x.placements()
	if err != nil {
		return []doctor.Check{{Name: "storage", Run: func(_ context.Context, r *doctor.Report) {
			r.Add("", doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: "correct PGCOURIER_STORAGE: see docs/storage.md"})
		}}}
	}
	var all []doctor.Check
	for _, p := range places {
		all = append(all, doctor.Check{Name: "storage/" + p.Name, Run: func(ctx context.Context, r *doctor.Report) { x.checkStorage(ctx, p, r) }})
	}
	return all
}

// errNoFolder says that a folder is yet to be made. It is left to the worker: made by whoever
// runs doctor, it might not be the worker's.
var errNoFolder = errors.New("the folder is not there yet")

// open opens a destination as a worker does.
func (x *examination) open(p destinations.Location) (*destinations.Destination, error) {
	if folder, ok := p.Folder(); ok {
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			return nil, errNoFolder
		}
	}
	return p.Open(destinations.Options{
		TelegramToken: x.config.TelegramToken, AllowPlaintext: x.config.AllowPlaintext || len(x.config.AgeRecipients) > 0, Log: x.log,
	})
}

func (x *examination) checkStorage(ctx context.Context, p destinations.Location, r *doctor.Report) {
	d, err := x.open(p)
	if errors.Is(err, errNoFolder) {
		r.Add("", doctor.Finding{State: doctor.Warning, Found: err.Error(), Mend: "nothing, if a worker may make it: it does so at its start"})
		return
	}
	if err != nil {
		r.Add("", storageTrouble(err, p))
		return
	}
	defer func() { _ = d.Close() }()
	if err = d.Check(ctx); err == nil {
		err = d.Probe(ctx)
	}
	if err != nil {
		r.Add("", storageTrouble(err, p))
		return
	}
	kind := "required"
	if p.Optional {
		kind = "optional"
	}
	r.OK("", "a probe was written, read and deleted; %s", kind)
}

// storageMends say what an operator can do about a destination that refuses.
var storageMends = map[string]string{
	"file":     "let this user write to the folder in PGCOURIER_STORAGE, or name another one",
	"s3":       "correct the bucket, the region or the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), and let them get, put, list and delete: see docs/storage.md",
	"telegram": "correct PGCOURIER_TELEGRAM_TOKEN or the chat's id, and give the bot its rights in the chat: see docs/storage.md",
}

// storageTrouble is what an error of a destination means.
func storageTrouble(err error, p destinations.Location) doctor.Finding {
	scheme, _, _ := strings.Cut(p.URL, ":")
	f := doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: storageMends[scheme]}
	_, setting := errors.AsType[*config.Error](err)
	switch {
	case errors.Is(err, storage.ErrFull):
		f.Mend = "free room there, or raise its quota; see retention"
	case errors.Is(err, storage.ErrRefused), setting:
	case untrusted(err):
		f.Mend = "trust the authority that signed the storage's certificate, or use the host name that it is for"
	case scheme != "file" && (errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)):
		f.State, f.Mend = doctor.Unreachable, "is it running, and can this machine reach it? Its address is in PGCOURIER_STORAGE"
	}
	if f.Mend == "" {
		f.Mend = "correct PGCOURIER_STORAGE: see docs/storage.md"
	}
	if p.Optional {
		f.Found = "optional: " + f.Found
	}
	return f
}

// driftPatience bounds the comparison of one destination with the ledger: all of it is listed.
const driftPatience = 10 * time.Minute

// driftChecks hold what each destination lists against the ledger.
func (x *examination) driftChecks() []doctor.Check {
	places, _ := x.placements() // the storage's own check says what is wrong
	var all []doctor.Check
	for _, p := range places {
		all = append(all, doctor.Check{Name: "drift/" + p.Name, Timeout: driftPatience, Run: func(ctx context.Context, r *doctor.Report) { x.checkDrift(ctx, p, r) }})
	}
	return all
}

func (x *examination) checkDrift(ctx context.Context, p destinations.Location, r *doctor.Report) {
	l, err := x.ledger(ctx)
	if err != nil {
		r.Skip("", "the ledger cannot be read")
		return
	}
	d, err := x.open(p)
	if err != nil {
		r.Skip("", "the storage cannot be used")
		return
	}
	defer func() { _ = d.Close() }()
	found, err := findDrift(ctx, d, l)
	if err != nil {
		r.Add("", storageTrouble(err, p))
		return
	}
	if text := found.text(); text != "" {
		x.mu.Lock()
		x.drifts["drift/"+p.Name] = found
		x.mu.Unlock()
		r.Add("", doctor.Finding{
			State: doctor.Fault, Found: text,
			Mend: "`pgcourier recover` makes records for objects, `pgcourier rm` deletes them; what is missing has to be exported again: see docs/retention.md",
		})
		return
	}
	r.OK("", "it holds what the ledger says, and nothing else")
}

// checkDisks looks at what is free where this machine keeps anything, against the largest
// export of late.
func (x *examination) checkDisks(ctx context.Context, r *doctor.Report) {
	stored, spooled := x.largest(ctx)
	x.checkDisk("data", x.config.DataDir, 0, r)
	x.checkDisk("spool", x.config.Spool(), min(spooled, int64(x.config.SpoolBytes)), r)
	places, err := x.placements()
	if err != nil {
		return // the storage's own check says so
	}
	for _, p := range places {
		if folder, ok := p.Folder(); ok {
			x.checkDisk(p.Name, folder, stored, r)
		}
	}
}

func (x *examination) checkDisk(part, folder string, largest int64, r *doctor.Report) {
	have, err := space(folder)
	if err != nil {
		r.Add(part, doctor.Finding{State: doctor.Unknown, Found: err.Error(), Mend: "let this user look at " + folder})
		return
	}
	r.Add(part, doctor.Room(have, largest))
}

// space is what is free for this user where a folder is, or will be once it is made.
func space(folder string) (doctor.Space, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return doctor.Space{}, err
	}
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(folder, &s)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(folder) != folder {
			folder = filepath.Dir(folder)
			continue
		}
		if err != nil {
			return doctor.Space{}, fmt.Errorf("look at the disk of %s: %w", folder, err)
		}
		have := doctor.Space{Free: int64(s.Bavail) * s.Bsize, Files: -1} //nolint:gosec // no disk has so many blocks
		if s.Files > 0 {                                                 // else the file system makes as many as it likes
			have.Files = int64(s.Ffree) //nolint:gosec // as above
		}
		return have, nil
	}
}

// largest are the bytes of the largest export of the last thirty days as it was stored, and
// of the largest one of format directory, which was in the spool; 0: not known.
func (x *examination) largest(ctx context.Context) (stored, spooled int64) {
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

package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// placements are the destinations of STORAGE.
func (x *examiner) placements() ([]destinations.Location, error) {
	urls, err := x.Settings.StorageURLs()
	if err != nil {
		return nil, err
	}
	return destinations.Parse(urls)
}

// storageChecks are one for each destination, so that none waits for another.
func (x *examiner) storageChecks() []Check {
	found, err := x.placements()
	if err != nil {
		return []Check{{Name: "storage", Run: func(_ context.Context, r *Report) {
			r.Add("", Finding{State: Fault, Found: err.Error(), Fix: "correct PGCOURIER_STORAGE: see docs/storage.md"})
		}}}
	}
	var all []Check
	for _, p := range found {
		all = append(all, Check{Name: "storage/" + p.Name, Run: func(ctx context.Context, r *Report) { x.checkStorage(ctx, p, r) }})
	}
	return all
}

// errNoFolder says that a folder does not exist yet. The worker makes it: a folder that doctor
// makes might belong to another user.
var errNoFolder = errors.New("the folder is not there yet")

// open opens a destination as a worker does.
func (x *examiner) open(p destinations.Location) (*destinations.Destination, error) {
	return p.Open(destinations.Options{
		TelegramToken: x.Settings.TelegramToken, AllowPlaintext: x.Settings.AllowPlaintext || len(x.Settings.AgeRecipients) > 0, Log: x.log,
	})
}

func (x *examiner) checkStorage(ctx context.Context, p destinations.Location, r *Report) {
	d, err := x.open(p)
	if err != nil {
		r.Add("", storageFinding(err, p))
		return
	}
	defer func() { _ = d.Close() }()
	if !x.checkMarker(ctx, d, p, r) {
		return // a probe would be written where exports must not be
	}
	if folder, ok := p.Folder(); ok {
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			r.Add("", Finding{State: Warning, Found: errNoFolder.Error(), Fix: "nothing, if a worker may make it: it does so at its start"})
			return
		}
	}
	if err = d.Check(ctx); err == nil {
		err = d.Probe(ctx)
	}
	if err != nil {
		r.Add("", storageFinding(err, p))
		return
	}
	kind := "required"
	if p.Optional {
		kind = "optional"
	}
	r.OK("", "a probe was written, read and deleted; %s", kind)
	if notice := d.Notice(); notice != "" {
		r.Add("address", Finding{State: Warning, Found: notice, Fix: "change PGCOURIER_STORAGE to the new id: the old one works only while Telegram tells the new one"})
	}
	checkKeeping(ctx, d, r)
}

// checkKeeping tells of a bucket that keeps what is deleted.
func checkKeeping(ctx context.Context, d *destinations.Destination, r *Report) {
	switch k, ok := d.Keeping(ctx); {
	case !ok:
	case k.Lock != "":
		r.Add("versions", Finding{
			State: Warning, Found: "the bucket locks each new object for " + k.Lock + ": what is deleted stays as a version until then",
			Fix: "nothing, if that is wanted: deletions say `hidden`. Else shorten the bucket's default retention. A lifecycle rule removes old versions after it",
		})
	case k.Locked:
		r.Add("versions", Finding{
			State: Warning, Found: "the bucket locks its objects: what is deleted stays as a version until its lock ends",
			Fix: "nothing, if that is wanted: deletions say `hidden`. A lifecycle rule removes old versions after it",
		})
	case k.Versions:
		r.Add("versions", Finding{
			State: Warning, Found: "the bucket keeps versions: what is deleted is hidden and stays",
			Fix: "set a lifecycle rule that removes noncurrent versions; deletions say `hidden`",
		})
	default:
		r.OK("versions", "the bucket keeps no versions of what is deleted")
	}
}

// checkMarker compares what lies at a destination with the ledger. It reports whether the
// destination may be probed.
func (x *examiner) checkMarker(ctx context.Context, d *destinations.Destination, p destinations.Location, r *Report) bool {
	if x.pool == nil {
		return true // reads only, or database says what is wrong
	}
	l, err := x.ledger(ctx)
	if err != nil {
		return true // database/ledger says so
	}
	s, ok, err := d.Look(ctx, l)
	if !ok {
		if err := errors.Join(d.Bind(ctx, l), d.CheckIndex(ctx)); errors.Is(err, storage.ErrNoIndex) {
			r.Add("index", storageFinding(err, p))
			return false
		}
		return true
	}
	if err == nil {
		err = d.Fault(s)
	}
	switch {
	case errors.Is(err, storage.ErrOtherStorage):
		r.Add("marker", Finding{State: Fault, Found: err.Error(), Fix: "give all workers one folder: a shared volume, or S3"})
		return false
	case errors.Is(err, storage.ErrNotMarked):
		r.Add("marker", Finding{State: Fault, Found: err.Error(), Fix: "mount the file system: see docs/storage.md"})
		return false
	case err != nil: // the probe says so
	case s.Marked && s.LiesOn != "" && s.LiesNow == "":
		r.Add("marker", Finding{
			State: Warning, Found: "the storage was on " + s.LiesOn + " and is now on the root's file system",
			Fix: "mount the file system, or, if it was moved on purpose: pgcourier storage adopt " + d.Name,
		})
	case s.Recorded == "":
		r.OK("marker", "no worker has marked it yet")
	case s.Marked:
		r.OK("marker", "it is the storage that the ledger knows")
	default:
		r.Add("marker", Finding{State: Warning, Found: "its marker is missing", Fix: "nothing: a worker makes it again at its start; find out what deleted it"})
	}
	return true
}

// storageFixes say what an operator can do about a destination that refuses.
var storageFixes = map[string]string{
	"file":     "let this user write to the folder in PGCOURIER_STORAGE, or name another one",
	"s3":       "correct the bucket, the region or the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), and let them get, put, list and delete: see docs/storage.md",
	"telegram": "correct PGCOURIER_TELEGRAM_TOKEN or the chat's id, and give the bot its rights in the chat: see docs/storage.md",
}

// storageFinding is what an error of a destination means.
func storageFinding(err error, p destinations.Location) Finding {
	scheme, _, _ := strings.Cut(p.URL, ":")
	f := Finding{State: Fault, Found: err.Error(), Fix: storageFixes[scheme]}
	_, setting := errors.AsType[*config.Error](err)
	answer, answered := errors.AsType[*storage.Answer](err)
	switch {
	case errors.Is(err, storage.ErrNoIndex):
		f.Fix = "pin the index again: see docs/storage.md"
	case errors.Is(err, storage.ErrFull):
		f.Fix = "free room there, or raise its quota; see retention"
	case errors.Is(err, storage.ErrRefused), setting:
	case untrusted(err):
		f.Fix = "trust the authority that signed the storage's certificate, or use the host name that it is for"
	case answered:
		f.State, f.Fix = Unreachable, "look at the server, or at a proxy in front of it: it answers, but takes no work now"
	case scheme != "file" && (errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)):
		f.State, f.Fix = Unreachable, "is it running, and can this machine reach it? Its address is in PGCOURIER_STORAGE"
	}
	if answered && answer.Advice != "" { // it knows better, and need not be said twice
		f.Fix, f.Found = answer.Advice, strings.ReplaceAll(f.Found, " ("+answer.Advice+")", "")
	}
	if f.Fix == "" {
		f.Fix = "correct PGCOURIER_STORAGE: see docs/storage.md"
	}
	if p.Optional {
		f.Found = "optional: " + f.Found
	}
	return f
}

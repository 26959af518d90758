package pgdump

import (
	"context"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// Arguments, Classify and ParseIO give the package's tests its internals.
var (
	Classify   = classify
	ParseIO    = parseWritten
	ErrTimeout = errTimeout
	ErrStalled = errStalled

	TellSilence = tellSilence
)

// Snapshot is a snapshot's id.
const Snapshot = "00000003-0000001B-1"

func Arguments(schemas []string, role, id string, f export.Format) ([]string, error) {
	return ArgumentsBeside(15, true, true, schemas, role, id, f)
}

// ArgumentsBeside are those of one pg_dump of a database that has comments or labels or has none.
func ArgumentsBeside(client int, comments, labels bool, schemas []string, role, id string, f export.Format) ([]string, error) {
	return arguments(selection{
		schemas: schemas, role: role, format: f, client: client,
		snapshot: snapshot{id: id, comments: comments, labels: labels}, encoding: "UTF8", lockWait: time.Minute,
		folder: "/spool/folder", jobs: 3,
	})
}

// Watch is the dump's clock.
type Watch struct{ *watch }

func NewWatch(limit, stall time.Duration) Watch { return Watch{&watch{limit: limit, stall: stall}} }

func (w Watch) Begin()                 { w.begin() }
func (w Watch) End(progress bool)      { w.end(progress) }
func (w Watch) Progress()              { w.progress() }
func (w Watch) BeginSilent()           { w.beginSilent() }
func (w Watch) Silence() time.Duration { return w.silence() }
func (w Watch) EndSilent()             { w.endSilent() }
func (w Watch) Run(ctx context.Context, moved func() bool, expire func(error)) {
	w.run(ctx, moved, expire)
}

// Trail is the state of the counting behind a dump.
type Trail struct{ *trail }

func NewTrail(dumped, exited <-chan struct{}, behind int) Trail {
	return Trail{&trail{dumped: dumped, exited: exited, behind: behind}}
}

func (t Trail) Wait(ctx context.Context, most int) int { return t.wait(ctx, most) }

// ProcessID is the process id of pg_dump.
func ProcessID(d export.Dump) int { return d.(*dump).process.ID() }

// Limit changes the limits of an open dump and sets its clock to zero. As a setting, a short stall
// would also bound Open, which takes longer on a busy machine.
func Limit(d export.Dump, limit, stall time.Duration) {
	w := watchOf(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.limit, w.stall, w.spent, w.quiet = limit, stall, 0, 0
}

// Silence returns how long the dump has made no progress while it was read.
func Silence(d export.Dump) time.Duration { return watchOf(d).silence() }

func watchOf(d export.Dump) *watch {
	if s, ok := d.(*slottedDump); ok {
		d = s.Dump
	}
	switch d := d.(type) {
	case *dump:
		return d.watch
	case *memberDump:
		return d.watch
	}
	panic("not a dump of this package")
}

// ReadNotices gives bytes of inotify to a reader of an empty folder.
func ReadNotices(folder *spool.Folder, notices []byte) error {
	s := &spooled{folder: folder, wake: make(chan struct{}, 1), writing: map[string]struct{}{}, known: map[string]struct{}{}}
	return s.take(notices)
}

// Grouped says whether a member's dump came from a group dump.
func Grouped(d export.Dump) bool {
	_, ok := d.(*slottedDump).Dump.(*memberDump)
	return ok
}

// SpoolLeft and SpoolCap are the free and the total bytes of the spools.

// WaitForSlot waits, for a member of a group whose only slot is taken, until release.
func WaitForSlot(ctx context.Context, log *slog.Logger, project string, release <-chan struct{}) error {
	g := &group{dumper: &GroupDumper{log: log}, slots: make(chan struct{}, 1)}
	g.slots <- struct{}{}
	go func() { <-release; <-g.slots }()
	free, err := g.slot(ctx, export.DumpJob{Project: export.Project{ID: project}})
	if err == nil {
		free()
	}
	return err
}

func SpoolLeft(g *GroupDumper) int64 { return g.budget.Load() }
func SpoolCap(g *GroupDumper) int64  { return g.config.SpoolBytes }

// Versions returns the installed pg_dumps, the oldest major first.
func (d *Dumper) Versions() []Version { return d.versions }

// CheckTarIn is CheckTar for another folder.
func CheckTarIn(folder string) error { return checkTar(folder) }

// SetReferenceWait sets the limit of the search for references, before the first test.
func SetReferenceWait(wait string) { referenceWait = wait }

package pgdump

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Arguments, ParseDSN, Classify and NewPassfile open the package's parts to its tests.
var (
	ParseDSN    = parseDSN
	Classify    = classify
	NewPassfile = newPassfile
	UnnamedFile = unnamedFile
	ParseIO     = parseWritten
	ErrTimeout  = errTimeout
	ErrStalled  = errStalled
)

func Arguments(schemas []string, role string, f seal.Format) ([]string, error) {
	return arguments(selection{
		schemas: schemas, role: role, format: f,
		snapshot: "00000003-0000001B-1", encoding: "UTF8", lockWait: time.Minute,
	})
}

// Tail keeps the end of what is written to it.
type Tail = tail

// Watch is the dump's clock.
type Watch struct{ *watch }

func NewWatch(limit, stall time.Duration) Watch { return Watch{&watch{limit: limit, stall: stall}} }

func (w Watch) Begin()            { w.begin() }
func (w Watch) End(progress bool) { w.end(progress) }
func (w Watch) Run(ctx context.Context, moved func() bool, expire func(error)) {
	w.run(ctx, moved, expire)
}

// Endpoints are the servers of a DSN, and what pg_dump would be told of the first.
func Endpoints(dsn export.Secret) (hosts []string, env []string, err error) {
	s, err := newSource(dsn)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range s.endpoints {
		hosts = append(hosts, e.host+" "+e.port)
	}
	return hosts, s.environment(&session{at: s.endpoints[0]}, "test"), nil
}

// ProcessID is pg_dump's.
func ProcessID(d export.Dump) int { return d.(*dump).process.cmd.Process.Pid }

// Look is all that Open does before it starts pg_dump.
func Look(ctx context.Context, d *Dumper, j export.DumpJob) error {
	src, err := newSource(d.config.DefaultDSN)
	if err != nil {
		return err
	}
	ses, err := src.connect(ctx, "pgcourier look")
	if err != nil {
		return err
	}
	defer ses.close()
	if err := ses.begin(ctx, "", time.Minute); err != nil {
		return err
	}
	v, err := ses.examine(ctx, j.Schemas)
	if err != nil {
		return err
	}
	if err := ses.lock(ctx, v.relations); err != nil {
		return err
	}
	_, err = ses.exportSnapshot(ctx)
	return err
}

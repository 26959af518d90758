// Package demo is the story that `pgcourier demo` tells on a temporary database: exports are
// asked for, the ledger is lost and recovered, and what is stored is restored and compared.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/stored"
)

//go:embed platform.sql
var platformSQL string

// Config says what the demo shows, and where it tells of it.
type Config struct {
	// Storage is one of Kinds.
	Storage string
	// Dir is the folder for the exports of the storage file. It removes the files of an earlier
	// demo there.
	Dir string
	// Size is how many rows the large project has.
	Size int
	// Console serves the web console at the end, until the context ends.
	Console bool
	// Version is the program's.
	Version string
	// Environ decides how progress is shown.
	Environ        []string
	Stdout, Stderr io.Writer
}

// Run tells the story. Errors are a *config.Error, or say what did not happen as it must.
func Run(ctx context.Context, c Config) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	d := &story{Config: c, storage: place{kind: c.Storage, dir: dir}}
	return d.run(ctx)
}

// story is one run of the demo.
type story struct {
	Config
	storage place
	step    int
	cluster *pgcluster.Cluster
	worker  *service.Service
	gateway *nats.Conn
	client  *events.Client
	config  config.Config   // the worker's
	exports *stored.Exports // the storage as the commands open it, without broker and ledger
}

// say begins the next step of the story.
func (d *story) say(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.Stdout, "\n%d. %s\n", d.step, fmt.Sprintf(format, args...))
}

func (d *story) tell(format string, args ...any) { fmt.Fprintf(d.Stdout, "   "+format+"\n", args...) }

func (d *story) run(ctx context.Context) (err error) {
	begun := time.Now()
	scratch, err := os.MkdirTemp("", "pgcourier-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	d.say("A temporary PostgreSQL with a control plane and three projects")
	if d.cluster, err = pgcluster.Start(ctx, pgcluster.Config{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cluster.Stop()) }()
	if err := d.load(ctx); err != nil {
		return err
	}
	stop, err := d.startWorker(ctx, scratch)
	if err != nil {
		return err
	}
	running := true
	defer func() {
		if running {
			err = errors.Join(err, stop())
		}
		err = errors.Join(err, d.exports.Close(), d.storage.close())
	}()

	completed, err := d.requests(ctx)
	if err != nil {
		return err
	}
	if d.storage.showChat != nil {
		if err := d.showChat(ctx, completed); err != nil {
			return err
		}
	}
	running = false
	if err := stop(); err != nil {
		return err
	}
	if err := d.loseLedger(ctx, completed); err != nil {
		return err
	}
	d.say("Restore what is stored into an empty database, and compare")
	for _, c := range completed {
		if err := d.restore(ctx, c); err != nil {
			return err
		}
	}
	took := time.Since(begun)
	if d.Console {
		if err := d.serveConsole(ctx); err != nil {
			return err
		}
	}
	d.farewell(completed, took)
	return nil
}

func (d *story) load(ctx context.Context) error {
	sql := strings.ReplaceAll(platformSQL, "$size$", strconv.Itoa(d.Size))
	if err := d.psql(ctx, "postgres", strings.NewReader("CREATE DATABASE platform; CREATE DATABASE restored;")); err != nil {
		return err
	}
	if err := d.psql(ctx, "platform", strings.NewReader(sql)); err != nil {
		return err
	}
	d.tell("acme   active     %d events in partitions, jsonb, enums, views, sequences", d.Size)
	d.tell("bolt   active     a small one, in a schema called  Ten*ant \"bolt\"")
	d.tell("ceres  suspended")
	return nil
}

func (d *story) farewell(completed []*events.Completed, took time.Duration) {
	look := ""
	if d.storage.kind == "file" {
		d.say("Done in %s. The database and the broker are gone; the exports are kept:", took.Round(100*time.Millisecond))
		for _, c := range completed {
			d.tell("%s", filepath.Join(d.storage.dir, filepath.FromSlash(keyOf(c))))
		}
		look = "  gunzip -c " + filepath.Join(d.storage.dir, filepath.FromSlash(keyOf(completed[0]))) + " | less\n"
	} else {
		d.say("Done in %s. The database, the broker and the test server are gone, and the exports with it.", took.Round(100*time.Millisecond))
	}
	fmt.Fprint(d.Stdout, "\nTry next:\n"+look+`  PGCOURIER_DATABASE_URL=postgres://user:secret@host/platform build/pgcourier serve
  build/pgcourier request acme --wait        # in another terminal
  build/pgcourier --help
`)
}

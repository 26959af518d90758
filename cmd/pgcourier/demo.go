package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/term"
)

//go:embed demo/platform.sql
var platformSQL string

func (a *app) demoCommand() *cobra.Command {
	kind := "file"
	var dir string
	var size int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on a throw-away database",
		Long: "Starts a throw-away PostgreSQL cluster, an embedded broker and a worker, requests\n" +
			"exports as a gateway would, drops the ledger and recovers it from the storage, restores\n" +
			"what is stored into an empty database and compares every table. It removes all of it\n" +
			"again but the exports.\n\n" +
			"It needs PostgreSQL's server binaries: `make postgres` installs them where permitted.",
		Example: "  pgcourier demo\n  pgcourier demo --size 2000000",
		Args:    cobra.NoArgs,
	}
	if kinds := demoKinds(); len(kinds) > 1 {
		cmd.Flags().StringVar(&kind, "storage", kind, "where the exports are kept: "+strings.Join(kinds, ", ")+"; what is not file is a test server in this process")
		_ = cmd.RegisterFlagCompletionFunc("storage", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.Flags().StringVar(&dir, "dir", "pgcourier-data/demo", "folder for the exports; what an earlier demo left there is removed")
	cmd.Flags().IntVar(&size, "size", 1_200_000, "rows of the large project; each is about 260 bytes in the dump")
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		if kinds := demoKinds(); !slices.Contains(kinds, kind) {
			return exitf(exitUsage, "--storage: %q is not one of %s", kind, strings.Join(kinds, ", "))
		}
		if a.output != "text" {
			return exitf(exitUsage, "the demo tells a story: it has no --output %s", a.output)
		}
		d := &demo{app: a, size: size, storage: demoStorage{kind: kind}}
		var err error
		if d.storage.dir, err = filepath.Abs(dir); err != nil {
			return err
		}
		return d.run(cmd.Context())
	})
	return cmd
}

// demo is one run of the demo.
type demo struct {
	*app
	storage demoStorage
	size    int
	step    int
	cluster *pgcluster.Cluster
	worker  *service.Service
	gateway *nats.Conn
	client  *events.Client
	config  config.Config   // the worker's
	library *stored.Exports // the storage as the commands open it, without broker and ledger
}

// say begins the next step of the story.
func (d *demo) say(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.stdout, "\n%d. %s\n", d.step, fmt.Sprintf(format, args...))
}

func (d *demo) tell(format string, args ...any) { fmt.Fprintf(d.stdout, "   "+format+"\n", args...) }

func (d *demo) run(ctx context.Context) (err error) {
	begun := time.Now()
	scratch, err := os.MkdirTemp("", "pgcourier-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	d.say("A throw-away PostgreSQL with a control plane and three projects")
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
		err = errors.Join(err, d.library.Close(), d.storage.close())
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
	d.farewell(completed, time.Since(begun))
	return nil
}

func (d *demo) load(ctx context.Context) error {
	sql := strings.ReplaceAll(platformSQL, "$size$", strconv.Itoa(d.size))
	if err := d.psql(ctx, "postgres", strings.NewReader("CREATE DATABASE platform; CREATE DATABASE restored;")); err != nil {
		return err
	}
	if err := d.psql(ctx, "platform", strings.NewReader(sql)); err != nil {
		return err
	}
	d.tell("acme   active     %d events in partitions, jsonb, enums, views, sequences", d.size)
	d.tell("bolt   active     a small one, in a schema called  Ten*ant \"bolt\"")
	d.tell("ceres  suspended")
	return nil
}

// startWorker runs what `pgcourier serve` runs, on the demo's database. The returned
// function ends it in order; the storage and the library stay open.
func (d *demo) startWorker(ctx context.Context, scratch string) (stop func() error, err error) {
	d.say("A worker with an embedded broker, as `pgcourier serve` runs it")
	c, err := config.Load(nil, map[string]string{"DATA_DIR": scratch, "NATS_PORT": "-1", "ACK_WAIT": "5s", "LOG_LEVEL": "error"})
	if err != nil {
		return nil, err
	}
	c.DatabaseURL = secret.String(d.cluster.URL("platform"))
	log := slog.New(slog.NewTextHandler(d.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if err := d.openStorage(&c); err != nil {
		return nil, err
	}
	d.config = c
	if d.library, err = d.openLibrary(log); err != nil {
		return nil, errors.Join(err, d.storage.close())
	}
	if d.worker, err = service.New(ctx, service.Config{Settings: c, Version: version, S3: d.storage.keys, Log: log}); err != nil {
		return nil, errors.Join(err, d.library.Close(), d.storage.close())
	}
	// As any gateway on this host connects: with the key that the broker made for it.
	if d.gateway, err = setup.Connect(c, server.UserGateway, log); err != nil {
		return nil, errors.Join(err, d.worker.Close(), d.library.Close(), d.storage.close())
	}
	if d.client, err = events.NewClient(d.gateway); err != nil {
		return nil, errors.Join(err, d.worker.Close(), d.library.Close(), d.storage.close())
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.worker.Run(running) }()
	d.tell("broker %s, which knows its users by their keys", d.gateway.ConnectedUrlRedacted())
	return func() error {
		cancel()
		d.gateway.Close()
		return errors.Join(<-ended, d.worker.Close())
	}, nil
}

// requests asks for three exports as gateways do and returns those that completed.
func (d *demo) requests(ctx context.Context) ([]*events.Completed, error) {
	d.say("A Go gateway asks for acme through events.Client")
	acme, err := d.ask(ctx, events.Requested{
		ProjectID: "acme", RequestedBy: "demo", Metadata: map[string]string{"ticket": "4711"},
	})
	if err != nil {
		return nil, err
	}
	if acme.Completed == nil {
		return nil, fmt.Errorf("the export of acme failed: %s: %s", acme.Failed.Code, acme.Failed.Message)
	}
	d.say(`Any gateway asks for bolt: nats --nkey gateway.nk pub backup.requested '{"project_id":"bolt"}'`)
	bolt, err := d.askBare(ctx, "bolt")
	if err != nil {
		return nil, err
	}
	if bolt.Completed == nil {
		return nil, fmt.Errorf("the export of bolt failed: %s: %s", bolt.Failed.Code, bolt.Failed.Message)
	}
	d.say("A request for ceres, which is suspended, is refused without a retry")
	ceres, err := d.ask(ctx, events.Requested{ProjectID: "ceres"})
	if err != nil {
		return nil, err
	}
	if ceres.Failed == nil || ceres.Failed.Code != "project_not_found" || ceres.Failed.Attempts != 1 {
		return nil, errors.New("the suspended project was not refused as it must be")
	}
	return []*events.Completed{acme.Completed, bolt.Completed}, nil
}

// ask requests an export, shows its progress and prints its outcome event.
func (d *demo) ask(ctx context.Context, r events.Requested) (events.Outcome, error) {
	id, err := d.client.RequestBackup(ctx, r)
	if err != nil {
		return events.Outcome{}, err
	}
	view := term.NewEvents(d.stdout, d.environ, d.output == "json")
	defer view.Close()
	out, err := view.Follow(ctx, d.client, r.ProjectID, id)
	if err != nil {
		return events.Outcome{}, err
	}
	return out, d.printEvent(out)
}

// askBare publishes a bare JSON body with no headers at all, and waits for the outcome of
// the project's next request.
func (d *demo) askBare(ctx context.Context, project string) (events.Outcome, error) {
	nc := d.gateway
	outcomes, err := nc.SubscribeSync(events.OutcomeFilter(project, "*"))
	if err != nil {
		return events.Outcome{}, err
	}
	defer func() { _ = outcomes.Unsubscribe() }()
	if err := nc.Publish(events.TypeRequested, []byte(`{"project_id":"`+project+`"}`)); err != nil {
		return events.Outcome{}, err
	}
	for {
		m, err := outcomes.NextMsgWithContext(ctx)
		if err != nil {
			return events.Outcome{}, fmt.Errorf("wait for the outcome: %w", err)
		}
		if out, ok := outcomeOf(m); ok {
			return out, d.printEvent(out)
		}
	}
}

func outcomeOf(m *nats.Msg) (events.Outcome, bool) {
	header := map[string]string{}
	for k := range m.Header {
		header[k] = m.Header.Get(k)
	}
	out, err := events.DecodeOutcome(events.Message{Subject: m.Subject, Header: header, Body: m.Data})
	return out, err == nil
}

func (d *demo) printEvent(out events.Outcome) error {
	b, err := json.MarshalIndent(term.EventJSON(events.Event{Outcome: out}), "   ", "  ")
	if err != nil {
		return err
	}
	d.tell("%s", b)
	return nil
}

func (d *demo) farewell(completed []*events.Completed, took time.Duration) {
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
	fmt.Fprint(d.stdout, "\nTry next:\n"+look+`  PGCOURIER_DATABASE_URL=postgres://user:secret@host/platform build/pgcourier serve
  build/pgcourier request acme --wait        # in another terminal
  build/pgcourier --help
`)
}

package roundtrip_test

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/s3test"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/spool"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
	"github.com/pgcourier/pgcourier/internal/storage/s3"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// server is a running server, and the client tools that are used with it.
type server struct {
	*pgcluster.Cluster
	clients string // folder
}

var cluster server

// rich are scripts: rich.sql and, named by the major version that they need, what newer
// servers have besides.
//
//go:embed testdata
var rich embed.FS

// schemas are what rich.sql makes.
var schemas = []string{"rich", `Ten*ant "x".;'\`}

func TestMain(m *testing.M) { os.Exit(run(m)) }

// databases numbers those that the tests make.
var databases atomic.Int64

func run(m *testing.M) int {
	if flag.Parse(); *which {
		return tell()
	}
	ctx := context.Background()
	var err error
	if cluster.Cluster, err = pgcluster.Start(ctx, pgcluster.Config{InMemory: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cluster.clients = cluster.BinDir
	code := 1
	if err = cluster.fill(ctx, "source"); err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, cluster.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// fill makes a database with all that rich has for the server's version.
func (s server) fill(ctx context.Context, database string) error {
	if err := s.execute(ctx, "postgres", "CREATE DATABASE "+database); err != nil {
		return err
	}
	major, err := s.major(ctx)
	if err != nil {
		return err
	}
	for v := range major + 1 {
		name := fmt.Sprintf("testdata/rich-%d.sql", v)
		if v == 0 {
			name = "testdata/rich.sql"
		}
		script, err := rich.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = s.execute(ctx, database, string(script))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s server) major(ctx context.Context) (n int, err error) {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return 0, err
	}
	err = conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&n)
	return n, errors.Join(err, conn.Close(ctx))
}

func (s server) execute(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// place is one destination and what reads its exports again.
type place struct {
	*storage.Repository
	recipients []seal.Recipient
	identities []age.Identity
}

// places opens one destination of each kind. Exports in Telegram are encrypted.
func places(t testing.TB) map[string]place {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	return map[string]place{
		"file":     newPlace(t, storage.Config{Driver: folder}, nil),
		"s3":       newPlace(t, storage.Config{Driver: openS3(t)}, nil),
		"telegram": newPlace(t, storage.Config{Driver: openTelegram(t), Journal: new(storage.MemoryJournal)}, identity),
	}
}

func newPlace(t testing.TB, c storage.Config, identity *age.X25519Identity) place {
	t.Helper()
	var p place
	var err error
	if identity != nil {
		if p.recipients, err = seal.ParseRecipients([]string{identity.Recipient().String()}); err != nil {
			t.Fatal(err)
		}
		p.identities = []age.Identity{identity}
	}
	c.Recipients, c.Identities = seal.Keys(p.recipients), p.identities
	if p.Repository, err = storage.New(c); err != nil {
		t.Fatal(err)
	}
	return p
}

func openS3(t testing.TB) *s3.Driver {
	t.Helper()
	server, err := s3test.Start("exports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	driver, err := s3.New(s3.Config{
		Bucket: "exports", Endpoint: server.URL(), Region: "us-east-1", PathStyle: true, PartSize: s3.MinPartSize,
		Credentials: credentials.NewStaticV4("key", "secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Close() })
	return driver
}

// openTelegram opens a chat on the test server, which has virtual time.
func openTelegram(t testing.TB) *telegram.Driver {
	t.Helper()
	const chat = int64(-1001)
	clock := telegramtest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	server, err := telegramtest.Start(telegramtest.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	server.AddChat(telegramtest.Chat{ID: chat, Type: "channel"})
	token := server.AddBot("courier")
	server.SetMember(chat, token, telegramtest.Admin())
	client, err := telegram.NewClient(telegram.ClientConfig{Token: export.Secret(token), BaseURL: server.URL(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	driver, err := telegram.New(telegram.Config{Client: client, Chat: chat, PartSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return driver
}

// granting is a ledger that grants each request its first attempt, and a project that
// owns schemas.
type granting struct {
	schemas []string
	ending  export.Ending
}

func (g *granting) Claim(_ context.Context, c export.ClaimRequest) (export.Claim, error) {
	return export.Claim{Verdict: export.Granted, Token: export.Token{ID: c.Request.ID, Attempt: 1}, Started: time.Now()}, nil
}

func (g *granting) Renew(context.Context, export.Token) error { return nil }

func (g *granting) Finish(_ context.Context, _ export.Token, e export.Ending) error {
	g.ending = e
	return nil
}

func (g *granting) Lookup(_ context.Context, id string) (export.Project, error) {
	return export.Project{ID: id, Name: id, Schemas: g.schemas}, nil
}

// export runs one request as a worker does, into store.
func (s server) export(t testing.TB, store export.Store, database, id string, format export.Format, compression seal.Compression, level seal.Level, to []seal.Recipient) *export.Artifact {
	t.Helper()
	a, err := exportBy(t.Context(), s.dumper(t, database, slog.New(slog.DiscardHandler)), store, schemas, export.Request{
		ID: export.ID{Project: "acme", Request: id}, Format: format, Compression: compression, Level: level, Jobs: 2,
	}, to)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// dumper dumps a database with the server's client tools.
func (s server) dumper(t testing.TB, database string, log *slog.Logger) *pgdump.Dumper {
	t.Helper()
	area, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := pgdump.New(pgdump.Config{Spool: area, DefaultDSN: export.Secret(s.URL(database)), BinDirs: []string{s.clients}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// exportBy runs one request of a project that owns these schemas.
func exportBy(ctx context.Context, dumper export.Dumper, store export.Store, schemas []string, r export.Request, to []seal.Recipient) (*export.Artifact, error) {
	ledger := &granting{schemas: schemas}
	out, err := export.New(export.Config{
		Ledger: ledger, Projects: ledger, Dumper: dumper, Store: store, Recipients: to,
		Inspect: func(f export.Format) (export.Inspector, error) { return archive.NewChecker(f) },
		Log:     slog.New(slog.DiscardHandler),
	}).Run(ctx, r, delivery.Delivery{Last: true}, export.Group{})
	if err == nil && out.State != export.Completed {
		err = fmt.Errorf("%s %s", out.Code, out.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", r.ID.Request, err)
	}
	return out.Artifact, nil
}

// client is a command that runs one of the client tools on a database.
func (s server) client(ctx context.Context, database, tool string, args ...string) (*exec.Cmd, error) {
	cmd, err := s.Client(ctx, database, tool, args...)
	if err == nil {
		cmd.Path = filepath.Join(s.clients, tool)
		cmd.Args[0] = cmd.Path
	}
	return cmd, err
}

// feed restores a plain dump into a database, in one transaction that any error ends: a
// directory as a user would, from the folder that tar unpacks.
func (s server) feed(ctx context.Context, database string, format export.Format, dump io.Reader) error {
	if format == export.Directory {
		return s.feedDirectory(ctx, database, dump)
	}
	tool, args := "pg_restore", []string{"--exit-on-error", "--single-transaction", "--dbname=" + database}
	if format == export.SQL {
		tool, args = "psql", []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--output=/dev/null", "--file=-"}
	}
	cmd, err := s.client(ctx, database, tool, args...)
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = dump, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, stderr.String())
	}
	return nil
}

// unpack is a directory archive's folder. The caller removes it, also after an error.
func unpack(ctx context.Context, dump io.Reader) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "roundtrip-"); err != nil {
		return "", err
	}
	tar := exec.CommandContext(ctx, "tar", "-x", "-C", dir)
	tar.Stdin = dump
	if out, err := tar.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("tar: %w: %s", err, out)
	}
	return dir, nil
}

// writeScript lets pg_restore write an archive's script to a file.
func (s server) writeScript(ctx context.Context, to string, format export.Format, dump io.Reader) (err error) {
	args := []string{"--no-owner", "--no-acl", "--no-tablespaces", "--file=" + to}
	switch format {
	case export.SQL:
		file, err := os.Create(to)
		if err == nil {
			_, err = io.Copy(file, dump)
			err = errors.Join(err, file.Close())
		}
		return err
	case export.Directory:
		dir, err := unpack(ctx, dump)
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err != nil {
			return err
		}
		args, dump = append(args, dir), nil
	default:
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.clients, "pg_restore"), args...)
	cmd.Stdin = dump
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_restore: %w: %s", err, out)
	}
	return nil
}

func (s server) feedDirectory(ctx context.Context, database string, dump io.Reader) (err error) {
	dir, err := unpack(ctx, dump)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err != nil {
		return err
	}
	cmd, err := s.client(ctx, database, "pg_restore", "--exit-on-error", "--single-transaction", "--dbname="+database, dir)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_restore: %w: %s", err, out)
	}
	return nil
}

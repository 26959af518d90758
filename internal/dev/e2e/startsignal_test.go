package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/dev/faketool"
)

// stuckStart is a start of `serve` that waits for something that does not answer.
type stuckStart struct {
	name     string
	settings []string
	stuck    func() bool // reports whether the process waits for it
	waitsFor string      // its name in the log
}

// many is the number of servers in a list. The client tries each for five seconds, so that it does
// not give up before the signal.
const many = 100

// stuckStarts are the starts.
func stuckStarts(p *platform) []stuckStart {
	t := p.t
	list := func(addr string) string { return "NATS_URL=nats://" + strings.Repeat(addr+",nats://", many-1) + addr }
	ledger := func(addr string) string {
		return "DATABASE_URL=postgres://u:p@" + addr + "/x?sslmode=disable&connect_timeout=600"
	}
	silent := func() (string, func() bool) { return silentServer(t) }
	embedded := func(settings ...string) []string {
		return append([]string{"NATS_URL=", "NATS_KEYS=", "NATS_PORT=-1", "DATA_DIR=" + t.TempDir()}, settings...)
	}
	broker, brokerAsked := silent()
	full, fullAsked := fullServer(t)
	fullBeside, fullBesideAsked := fullServer(t)
	database, databaseAsked := silent()
	beside, besideAsked := silent()
	bucket, bucketAsked := silent()
	chat, chatAsked := silent()
	other, migrating := p.lockedLedger()
	tool := filepath.Join(t.TempDir(), "wait")
	tools := filepath.Dir(tool)
	for _, name := range []string{"pg_dump", "pg_restore", "psql"} {
		faketool.Install(t, filepath.Join(tools, name), "#!/bin/sh\nread x <"+tool+"\n")
	}
	recovering := t.TempDir()
	stream := filepath.Join(recovering, "broker", "jetstream", "PGCOURIER", "streams", "S")
	if err := os.MkdirAll(stream, 0o700); err != nil {
		t.Fatal(err)
	}
	return []stuckStart{
		{"a broker that takes connections and says nothing", []string{list(broker), "NATS_KEYS="}, brokerAsked, "the broker"},
		{"a broker that takes no connections", []string{list(full), "NATS_KEYS="}, fullAsked, "the broker"},
		{"an embedded broker that reads its store", embedded("DATA_DIR=" + recovering), pipe(t, filepath.Join(stream, "meta.inf")), "the broker"},
		{"a database that takes connections and says nothing", []string{ledger(database)}, databaseAsked, "the ledger"},
		{"the same beside the embedded broker", embedded(ledger(beside)), besideAsked, "the ledger"},
		{"a database that takes no connections", []string{ledger(fullBeside)}, fullBesideAsked, "the ledger"},
		{"a migration behind another session", []string{"DATABASE_URL=" + other}, migrating, "the ledger"},
		{"a bucket's server that says nothing", []string{"STORAGE=s3://bucket?endpoint=http://" + bucket, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, bucketAsked, "the storage"},
		{"a chat's server that says nothing", []string{"STORAGE=telegram://42?api=http://" + chat, "TELEGRAM_TOKEN=1:" + strings.Repeat("a", 35), "ALLOW_PLAINTEXT=true"}, chatAsked, "the storage"},
		{"a pg_dump that hangs", []string{"PG_BIN_DIR=" + tools}, pipe(t, tool), "the project query and the client tools"},
	}
}

// A signal ends `serve` also while it starts, whatever it waits for, with the exit code of an orderly
// end. The log names what it waited for.
func TestASignalEndsAStartThatWaits(t *testing.T) {
	t.Parallel()
	p := setup(t)
	starts := stuckStarts(p)
	for _, s := range starts {
		w := p.begin("", p.environ(s.settings...))
		eventually(t, s.name+" is waited for", func() bool {
			if w.ended() {
				t.Fatalf("%s: the process ended by itself: %v\n%s", s.name, w.err, w.logs.String())
			}
			return s.stuck()
		})
		w.term()
	}
	for i, s := range starts {
		w := p.workers[i]
		w.await()
		if text := w.logs.String(); w.err != nil || !strings.Contains(text, `"msg":"stopped before serving`) || !strings.Contains(text, `"waited_for":"`+s.waitsFor+`"`) {
			t.Errorf("%s: ended with %v\n%s", s.name, w.err, text)
		}
		for _, v := range s.settings {
			dir, data := strings.CutPrefix(v, "DATA_DIR=")
			if _, err := os.Stat(filepath.Join(dir, "nats.url")); data && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the embedded broker left its address: %v", s.name, err)
			}
		}
	}
}

// silentServer accepts connections and never answers. asked reports whether one came.
func silentServer(t *testing.T) (addr string, asked func() bool) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, ended := make(chan net.Conn, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				close(came)
				return
			}
			came <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
		for c := range came {
			_ = c.Close()
		}
	})
	return l.Addr().String(), func() bool { return len(came) > 0 }
}

// fullServer listens, and its queue of connections is full. asked reports whether a process waits for
// the answer to its first packet.
func fullServer(t *testing.T) (addr string, asked func() bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	loopback := [4]byte{127, 0, 0, 1}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	at, ok := name.(*unix.SockaddrInet4)
	if err != nil || !ok {
		t.Fatal(name, err)
	}
	addr = fmt.Sprintf("127.0.0.1:%d", at.Port)
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr) // with a backlog of 0 there is room for one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	waiting := fmt.Sprintf("0100007F:%04X 02 ", at.Port) // proc(5): the other end, and SYN_SENT
	return addr, func() bool {
		all, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(all), waiting)
	}
}

// pipe makes a pipe with a name. A process that reads it waits until the end of the test. read reports
// whether one does.
func pipe(t *testing.T, name string) (read func() bool) {
	t.Helper()
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	var writer *os.File
	t.Cleanup(func() {
		if writer != nil {
			_ = writer.Close()
		}
	})
	return func() bool {
		f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil && !errors.Is(err, unix.ENXIO) { // ENXIO: it has no reader (fifo(7))
			t.Fatal(err)
		}
		writer = f
		return err == nil
	}
}

// lockedLedger makes a database in which another session makes the ledger's schema and does not commit.
// migrating reports whether a session waits for that.
func (p *platform) lockedLedger() (url string, migrating func() bool) {
	p.t.Helper()
	name := p.database + "_locked"
	if err := executeIn(p.ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := executeIn(p.ctx, "postgres", "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			p.t.Error(err)
		}
	})
	url = cluster.URL(name)
	conn, err := pgx.Connect(p.t.Context(), url)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close(p.ctx) })
	if _, err := conn.Exec(p.t.Context(), "BEGIN; CREATE SCHEMA pgcourier"); err != nil {
		p.t.Fatal(err)
	}
	look := p.sql()
	return url, func() bool {
		var waits bool
		if err := look.QueryRow(p.t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock')", name).Scan(&waits); err != nil {
			p.t.Fatal(err)
		}
		return waits
	}
}

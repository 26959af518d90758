package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// sweep searches every lasting sink.
func (s *scene) sweep() {
	s.t.Helper()
	s.c.streams(s.ctx, s.js)
	s.c.ledger(s.database)
	s.sessions()
	s.c.search(sinkServerLog, "PostgreSQL's log", []byte(read(s.t, filepath.Join(cluster.Folder, "log"))))
	s.c.files(sinkStorage, s.storage)
	s.c.files(sinkFolders, s.data, server.KeysDir(s.data))
	for i, w := range s.workers {
		s.c.search(sinkLogs, fmt.Sprintf("log of process %d", i+1), []byte(w.logs.String()))
		s.c.files(sinkFolders, w.tmp)
	}
	for info := range s.bucket.ListObjectsIter(s.ctx, "exports", minio.ListObjectsOptions{Recursive: true}) {
		object, err := s.bucket.Client.GetObject(s.ctx, "exports", info.Key, minio.GetObjectOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := io.ReadAll(object)
		about, err2 := object.Stat()
		if err = errors.Join(err, err2, object.Close()); err != nil {
			s.t.Fatal(err)
		}
		s.c.search(sinkBucket, info.Key, append([]byte(info.Key+"\n"+headerText(about.Metadata)), text...))
	}
	for _, m := range append(s.chat.Messages(privateChat), s.chat.Messages(toldChat)...) {
		s.c.search(sinkChat, m.Name, fmt.Appendf(nil, "%+v", m))
	}
	for _, m := range s.smtp.Mails() {
		s.c.search(sinkMails, "mail", m.Data)
	}
	for _, call := range s.hook.calls() {
		call.header.Del("Authorization") // the receiver's own
		s.c.search(sinkWebhooks, "webhook", []byte(headerText(call.header)+string(call.body)))
	}
}

// sessions searches what any login can see of other sessions.
func (s *scene) sessions() {
	s.t.Helper()
	conn := s.sql()
	rows, err := conn.Query(s.ctx, "SELECT a::text FROM pg_stat_activity a")
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	s.c.search(sinkSessions, "pg_stat_activity", []byte(strings.Join(all, "\n")))
}

// held lets a request's pg_dump wait for a locked table, calls look while it waits there, and
// releases it.
func (s *scene) held(n int, look func(pid int)) {
	s.t.Helper()
	s.gate.awaitHeld(n)
	ctx, cancel := context.WithCancel(s.ctx)
	conn, err := pgx.Connect(ctx, cluster.URL(s.database))
	if err != nil {
		s.t.Fatal(err)
	}
	locked := make(chan error, 1)
	go func() { // behind the worker's own lock if that came first, and before pg_dump's
		_, err := conn.Exec(ctx, "BEGIN; LOCK TABLE tenant_acme.customers IN ACCESS EXCLUSIVE MODE")
		locked <- err
	}()
	watch := s.sql()
	waits := func(application string) (is bool) {
		if err := watch.QueryRow(s.ctx, `
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND relation = 'tenant_acme.customers'::regclass AND starts_with(application_name, $1))`, application).Scan(&is); err != nil {
			s.t.Fatal(err)
		}
		return is
	}
	eventually(s.t, "the lock is asked for", func() bool { return waits("") })
	s.gate.pass(1)
	eventually(s.t, "pg_dump waits for the lock", func() bool { return waits("pgcourier dump ") })
	pids := s.dumps()
	if len(pids) != 1 {
		s.t.Fatalf("%d pg_dumps run", len(pids))
	}
	look(pids[0])
	cancel()
	// Granted or cancelled in this moment: pg_dump waited behind it.
	if err := <-locked; err != nil && ctx.Err() == nil {
		s.t.Error(err)
	}
	_ = conn.Close(s.ctx)
}

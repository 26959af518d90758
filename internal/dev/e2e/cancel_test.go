package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/dev/s3test"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// cli runs a command beside the platform and returns what it wrote and its exit code.
func (p *platform) cli(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.cliWith(nil, args...)
}

// bare runs a command without the settings of a platform.
func (p *platform) bare(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.command(nil, args...)
}

func (p *platform) cliWith(settings []string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.command(p.environ(append([]string{"LOG_LEVEL=error"}, settings...)...), args...)
}

func (p *platform) command(environ []string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	binary, err := exec.LookPath("pgcourier")
	if err != nil {
		p.t.Fatal(err)
	}
	return p.commandOf(binary, environ, args...)
}

// commandOf is command for another binary than the test's own.
func (p *platform) commandOf(binary string, environ []string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), binary, args...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, environ...)
	var out, diagnostics strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	err := cmd.Run()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case failed:
		code = exit.ExitCode()
	case err != nil:
		p.t.Fatal(err)
	}
	return out.String(), diagnostics.String(), code
}

// cancel runs the command, which must end with the code.
func (p *platform) cancel(code int, args ...string) (stderr string) {
	p.t.Helper()
	out, stderr, got := p.cli(append([]string{"cancel", "--output", "json"}, args...)...)
	if got != code {
		p.t.Fatalf("cancel %q ended with %d, want %d\n%s%s", args, got, code, out, stderr)
	}
	if code != 0 {
		return stderr
	}
	var r events.CancelReply
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Result != events.CancelAccepted || r.RequestID != args[0] {
		p.t.Fatalf("cancel %q answered %s (%v)", args, out, err)
	}
	return ""
}

// stubborn is a pg_dump of one schema that writes so much, starts children, and then ends only by a
// SIGKILL of its whole group.
func stubborn(t *testing.T, schema string) (dir string) {
	t.Helper()
	return fakePgDump(t, `case "$*" in *`+schema+`*) trap '' TERM INT HUP; "$real" "$@" | head -c 7000000
		(while :; do sleep 1000; done) & echo held >>"$dir/held"; while :; do sleep 1000; done ;; esac; exec "$real" "$@"`)
}

// bucket is an S3 test server with one bucket.
type bucket struct {
	*minio.Core
	url string
}

func newBucket(t *testing.T) bucket {
	t.Helper()
	server := startS3(t)
	core, err := minio.NewCore(strings.TrimPrefix(server.URL(), "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("key", "secret", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket{core, server.URL()}
}

// startS3 starts an S3 test server with one bucket, exports.
func startS3(t *testing.T) *s3test.Server {
	t.Helper()
	server, err := s3test.Start("exports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// remains lists objects and unfinished uploads.
func (b bucket) remains(t *testing.T) (left []string) {
	t.Helper()
	for info := range b.ListObjectsIter(t.Context(), "exports", minio.ListObjectsOptions{Recursive: true}) {
		if info.Err != nil {
			t.Fatal(info.Err)
		}
		if path.Base(info.Key) != storage.MarkerName {
			left = append(left, info.Key)
		}
	}
	page, err := b.ListMultipartUploads(t.Context(), "exports", "", "", "", "", 1000)
	if minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		return left // gofakes3 returns this while there was no upload
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range page.Uploads {
		left = append(left, "unfinished "+u.Key)
	}
	return left
}

// withKeys is a pgcourier that has the bucket's keys in its environment.
func withKeys(t *testing.T) (binary string) {
	t.Helper()
	program, err := exec.LookPath("pgcourier")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pgcourier")
	faketool.Install(t, file, "#!/bin/sh\nexport AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret\nexec "+program+" \"$@\"\n")
	return file
}

func TestACancelInMidDumpEndsItAndLeavesNothingInAnyStorage(t *testing.T) {
	t.Parallel()
	p, c, b := setup(t), newChat(t), newBucket(t)
	p.bulk(20)
	dir := stubborn(t, "tenant_globex")
	// A third of ACK_WAIT is far longer than this test waits: the owner is notified, it does not
	// find out at its next renewal.
	w := p.startBinary(withKeys(t), fmt.Sprintf(
		"STORAGE=file://%s,s3://exports?region=us-east-1&path_style=true&required=true&part_size_mib=5&endpoint=%s,telegram://%d?required=true&part_size=1MiB&api=%s",
		p.storage, url.QueryEscape(b.url), privateChat, url.QueryEscape(c.URL())),
		"TELEGRAM_TOKEN="+c.token, "ALLOW_PLAINTEXT=true", "PG_BIN_DIR="+dir, "ACK_WAIT=1h")
	id := p.request(events.Requested{ProjectID: "globex", Compression: events.CompressionNone})
	eventually(t, "bytes are in staging", func() bool { return len(p.staged()) == 1 })
	eventually(t, "an upload is begun", func() bool { return len(b.remains(t)) == 1 })
	eventually(t, "parts are in the chat", func() bool { return len(c.documents()) >= 2 })
	eventually(t, "the dump hangs", func() bool { _, err := os.Stat(filepath.Join(dir, "held")); return err == nil })
	if len(p.dumps()) < 2 {
		t.Fatalf("pg_dump's group is %v", p.dumps())
	}
	p.cancel(0, id, "--project", "globex")
	eventually(t, "pg_dump's group has ended", func() bool { return len(p.dumps()) == 0 })
	f := p.failed("globex", id, codes.Cancelled, 1)
	if !f.Permanent || !strings.HasPrefix(f.Message, "the request was cancelled") || f.Request == nil {
		t.Errorf("failed as %+v", *f)
	}
	if left := append(append(b.remains(t), c.documents()...), p.stored()...); len(left) > 0 {
		t.Errorf("left in storage: %q", left)
	}
	if n := p.noted(); n != 0 {
		t.Errorf("%d parts are still noted", n)
	}
	p.cancel(0, id) // again: the same answer
	if w.logs.count("export failed") != 1 {
		t.Errorf("the log:\n%s", w.logs.String())
	}
}

func TestARequestThatWaitsIsCancelledWhereverItWaits(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	p.start("CONCURRENCY=1", "MAX_WAITING_PER_PROJECT=2", "PG_BIN_DIR="+g.dir)
	p.request(events.Requested{ProjectID: "acme", RequestID: "runs"})
	g.awaitHeld(1)
	p.request(events.Requested{ProjectID: "acme", RequestID: "queued"})
	p.publish(events.TypeRequested, nil, `{"project_id":"acme","request_id":"intake"}`)
	for _, id := range []string{"intake", "queued"} {
		p.cancel(0, id, "--requested-by", "ann")
		if f := p.failed("acme", id, codes.Cancelled, 0); f.Message != "the request was cancelled by ann" || f.Request.RequestID != id {
			t.Errorf("%s: %+v", id, *f)
		}
	}
	if n := p.stream(events.StreamRequests).State.Msgs; n > 2 { // the running one, and perhaps those that the intake moved since
		t.Errorf("%d requests are in the queue", n)
	}
	p.cancel(0, "queued", "--project", "acme", "--wait")
	g.pass(1)
	p.completed("acme", "runs")
}

func TestACancelThatCannotBeExecuted(t *testing.T) {
	t.Parallel()
	p := setup(t)
	if _, stderr, code := p.cli("cancel", "x", "--timeout", "30s"); code != 5 || !strings.Contains(stderr, "no worker listens") {
		t.Errorf("without a worker: %d %s", code, stderr)
	}
	p.start()
	for _, project := range []string{"acme", "globex"} {
		p.request(events.Requested{ProjectID: project, RequestID: "same"})
		p.completed(project, "same")
	}
	p.request(events.Requested{ProjectID: "unborn", RequestID: "bad"})
	p.failed("unborn", "bad", codes.SchemaNotFound, 1)
	for _, tc := range []struct {
		code int
		args []string
		say  string
	}{
		{6, []string{"same", "--project", "acme"}, "completed before"},
		{6, []string{"same", "--project", "acme"}, "completed before"}, // the second gives the same answer
		{6, []string{"bad"}, "failed before: schema_not_found"},
		{2, []string{"same"}, "several projects"},
		{3, []string{"nobody"}, `no request "nobody"`},
		{3, []string{"bad", "--project", "acme"}, `no request "bad"`},
		{2, []string{"a.b"}, "invalid request_id"},
		{2, []string{"bad", "--project", "*"}, "invalid project_id"},
	} {
		if stderr := p.cancel(tc.code, tc.args...); !strings.Contains(stderr, tc.say) {
			t.Errorf("%q: %s, want %q", tc.args, stderr, tc.say)
		}
	}
}

// The only worker is paused and cannot answer. Another worker can, and ends the request when the
// lease of the paused one has expired. The paused one cleans up when it continues.
func TestACancelWhileTheWorkerIsPaused(t *testing.T) {
	t.Parallel()
	p := setup(t)
	release := p.holdBulk()
	first := p.start("CONCURRENCY=1", "LOCK_TIMEOUT=5m")
	id := p.request(events.Requested{ProjectID: "globex", Compression: events.CompressionNone})
	p.copying()
	first.signal(syscall.SIGSTOP)
	release()
	if _, stderr, code := p.cli("cancel", id, "--timeout", "500ms"); code != 5 || !strings.Contains(stderr, "no worker answered") {
		t.Errorf("of a paused worker: %d %s", code, stderr)
	}
	p.start("CONCURRENCY=1")
	p.cancel(0, id)
	// The second worker may have taken the lease before the cancel arrived.
	if f := p.await("globex", id).Failed; f == nil || f.Code != codes.Cancelled {
		t.Errorf("ended as %+v, want cancelled", f)
	}
	first.signal(syscall.SIGCONT)
	eventually(t, "the paused worker's dump is gone", func() bool { return len(p.dumps()) == 0 })
	p.cancel(0, id)
}

func TestARunningExportCanBeCancelledWhileTheWorkerDrains(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	w := p.start("PG_BIN_DIR="+g.dir, "ACK_WAIT=5m", "DRAIN_TIMEOUT=10m")
	id := p.request(events.Requested{ProjectID: "acme"})
	g.awaitHeld(1)
	w.term()
	p.cancel(0, id)
	p.failed("acme", id, codes.Cancelled, 1)
	w.await()
}

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"filippo.io/age"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
)

// verification waits for the request's only verification.
func (p *platform) verification(project, id string) events.Event {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, events.StreamEvents)
	if err != nil {
		p.t.Fatal(err)
	}
	var e events.Event
	eventually(p.t, "the verification of "+id, func() bool {
		for _, subject := range []string{events.EventSubject(events.TypeVerified, project, id), events.EventSubject(events.TypeVerificationFailed, project, id)} {
			m, err := s.GetLastMsgForSubject(p.ctx, subject)
			if err != nil {
				continue
			}
			header := map[string]string{}
			for k := range m.Header {
				header[k] = m.Header.Get(k)
			}
			if e, err = events.DecodeEvent(events.Message{Subject: subject, Header: header, Body: m.Data}); err != nil {
				p.t.Fatal(err)
			}
			return true
		}
		return false
	})
	return e
}

func (p *platform) verifierSettled() bool {
	c := p.consumer(events.StreamOutcomes, events.ConsumerVerifier)
	return c.NumPending == 0 && c.NumAckPending == 0
}

func TestAVerifierRestoresEveryCompletedExport(t *testing.T) {
	t.Parallel()
	p := setup(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(file, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// The verifier has neither the source's login nor a superuser of its server.
	if err := executeIn(t.Context(), "postgres", document(t, "least-privilege-scratch.sql")+"ALTER ROLE pgcourier_verifier PASSWORD 'v'"); err != nil {
		t.Fatal(err)
	}
	scratch := url.URL{Scheme: "postgres", User: url.UserPassword("pgcourier_verifier", "v"), Host: fmt.Sprintf("127.0.0.1:%d", cluster.Port), Path: "/postgres"}
	v := p.start("ROLES=verifier", "DATABASE_URL=", "AGE_IDENTITY_FILE="+file, "VERIFY_SCRATCH_URL="+scratch.String())
	p.start("AGE_RECIPIENTS=" + id.Recipient().String())
	for _, r := range []events.Requested{
		{ProjectID: "acme", RequestID: "one", Trace: events.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
		{ProjectID: "quoted", RequestID: "two", Format: events.FormatTar, Compression: events.CompressionZstd},
	} {
		p.request(r)
		c := p.completed(r.ProjectID, r.RequestID)
		got := p.verification(r.ProjectID, r.RequestID).Verified
		if got == nil || got.SHA256 != c.SHA256 || got.StoredBytes != c.StoredBytes || got.SizeBytes != c.SizeBytes ||
			got.Tables != c.Tables || got.Rows != c.Rows || got.ServerVersion != c.ServerVersion || len(got.Copies) != 1 ||
			got.Copies[0].URI != c.Storage[0].URI || got.RestoreMS <= 0 || got.Trace != r.Trace {
			t.Errorf("verified is\n%+v, completed\n%+v", got, c)
		}
		raw, stderr, code := p.cli("receipt", "show", c.ProjectID+"/"+c.RequestID, "--verified")
		if code != 0 || !strings.Contains(raw, "restored") || !strings.Contains(raw, c.SHA256) || got.Receipt == nil || got.Receipt.KeyID != c.Receipt.KeyID {
			t.Errorf("receipt of the verification %+v: %d, %s%s", got.Receipt, code, raw, stderr)
		}
	}
	eventually(t, "the verifier has settled", p.verifierSettled)
	v.term()
	v.await()
}

// failures caused by the verifier are never announced, and those of the export always.
func TestAVerifierReportsDamage(t *testing.T) {
	t.Parallel()
	k := keep(t, events.Requested{ProjectID: "acme", RequestID: "one"}, events.Requested{ProjectID: "quoted", RequestID: "two"},
		events.Requested{ProjectID: "quoted", RequestID: "three"})
	// The verifier reads a copy of the storage, with faults.
	faulty := k.copyStorage(t)
	flip(t, filepath.Join(faulty, keyOf(t, k.exports["one"])), -100)
	for _, end := range []string{"", ".manifest.json"} {
		if err := os.Remove(filepath.Join(faulty, keyOf(t, k.exports["two"])+end)); err != nil {
			t.Fatal(err)
		}
	}
	scratch := "VERIFY_SCRATCH_URL=" + cluster.URL("postgres")
	v := k.start("ROLES=verifier", "STORAGE=file://"+faulty, "AGE_IDENTITY_FILE="+k.identity, scratch)
	if f := k.verification("acme", "one").VerificationFailed; f == nil || f.Code != codes.ExportDamaged || f.Destination != "file" || f.SHA256 != k.exports["one"].SHA256 {
		t.Errorf("one: %+v", f)
	}
	if f := k.verification("quoted", "two").VerificationFailed; f == nil || f.Code != codes.ExportMissing {
		t.Errorf("two: %+v", f)
	}
	if v := k.verification("quoted", "three").Verified; v == nil {
		t.Error("three is not verified")
	}
	// An order in the ledger has an export verified once more, and what was found announced once more.
	for _, order := range []string{"three", "one"} {
		project := k.exports[order].ProjectID
		if err := executeIn(t.Context(), k.database, fmt.Sprintf("INSERT INTO pgcourier.verification_orders (project_id, request_id, ordered_by) VALUES ('%s', '%s', 'test')", project, order)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := k.js.Stream(k.ctx, events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{events.EventSubject(events.TypeVerified, "quoted", "three"), events.EventSubject(events.TypeVerificationFailed, "acme", "one")} {
		eventually(t, "a second "+subject, func() bool {
			info, err := s.Info(k.ctx, jetstream.WithSubjectFilter(subject))
			return err == nil && info.State.Subjects[subject] == 2
		})
	}
	eventually(t, "the verifier has settled", k.verifierSettled)
	v.term()
	v.await()
}

// Retention deletes a damaged export from every destination. An export counts as damaged only when no
// whole copy of it can be left.
func TestOneBadCopyDoesNotCondemnTheOthers(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.expectVerifier()
	second := filepath.Join(t.TempDir(), "second")
	folders := "STORAGE=file://" + p.storage + ",file://" + second
	w := p.start(folders)
	keys := map[string]string{}
	for _, id := range []string{"lacking", "damaged", "lost", "whole"} {
		keys[id] = keyOf(t, p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id})))
	}
	p.settled()
	w.term()
	w.await()
	remove := func(pattern string) {
		t.Helper()
		names, err := filepath.Glob(pattern + "*")
		if err != nil || len(names) < 2 {
			t.Fatalf("%s: %q, %v", pattern, names, err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove(filepath.Join(second, keys["lacking"]))
	for _, folder := range []string{p.storage, second} {
		flip(t, filepath.Join(folder, keys["damaged"]), -100)
		remove(filepath.Join(folder, keys["lost"]))
	}
	scratch := "VERIFY_SCRATCH_URL=" + cluster.URL("postgres")
	v := p.start(folders, "ROLES=verifier", scratch)
	for id, want := range map[string]struct {
		code codes.Code
		at   string
	}{"lacking": {codes.ExportMissing, "file-2"}, "damaged": {codes.ExportDamaged, "file"}, "lost": {codes.ExportMissing, "file"}} {
		if f := p.event(events.TypeVerificationFailed, "acme", id).VerificationFailed; f.Code != want.code || f.Destination != want.at {
			t.Errorf("%s: %+v", id, f)
		}
	}
	p.event(events.TypeVerified, "acme", "whole")
	eventually(t, "the verifier has settled", p.verifierSettled)
	v.term()
	v.await()

	// A verifier of other folders finds nothing there, and that tells nothing about the export.
	p.exec("INSERT INTO pgcourier.verification_orders (project_id, request_id, ordered_by) VALUES ('acme', 'whole', 'test')")
	v = p.start("STORAGE=file://"+t.TempDir()+",file://"+t.TempDir(), "ROLES=verifier", scratch)
	if f := p.event(events.TypeVerificationFailed, "acme", "whole").VerificationFailed; f.Code != codes.ExportMissing {
		t.Errorf("elsewhere: %+v", f)
	}
	v.term()
	v.await()

	var found string
	if err := p.sql().QueryRow(t.Context(), "SELECT string_agg(request_id || ' ' || damaged, ', ' ORDER BY request_id) FROM pgcourier.verifications").Scan(&found); err != nil {
		t.Fatal(err)
	}
	if want := "damaged true, lacking false, lost true, whole false"; found != want {
		t.Errorf("noted %q, want %q", found, want)
	}
	rules := []string{folders, "RETENTION=last=4", "PRUNE_NOTICE=1ms"}
	p.prune(0, rules) // warns
	steps := p.prune(0, rules).steps()
	if len(steps) != 4 || steps["lacking"] != "kept" || steps["whole"] != "kept" || steps["damaged"] != "deleted" || steps["lost"] != "missing" {
		t.Errorf("retention: %v", steps)
	}
	if _, err := os.Stat(filepath.Join(p.storage, keys["lacking"])); err != nil {
		t.Error(err)
	}
}

// A bit that flips on the way from the storage is not damage of the export: the next reading is
// right.
func TestAVerifierReadsTwiceBeforeItReportsDamage(t *testing.T) {
	t.Parallel()
	p, b := setup(t), newBucket(t)
	storage := func(endpoint string) []string {
		return []string{
			"STORAGE=file://" + p.storage + ",s3://exports?region=us-east-1&path_style=true&endpoint=" + url.QueryEscape(endpoint),
			"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "ALLOW_PLAINTEXT=true",
		}
	}
	to, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	var flipped atomic.Bool
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // the signature covers it
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method != http.MethodGet || !strings.HasSuffix(r.Request.URL.Path, ".sql.gz") || flipped.Swap(true) {
				return nil
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			body[len(body)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(body))
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	v := p.start(append(storage(server.URL), "ROLES=verifier", "DATABASE_URL=", "VERIFY_SCRATCH_URL="+cluster.URL("postgres"))...)
	p.start(storage(b.url)...)
	p.request(events.Requested{ProjectID: "quoted", RequestID: "one"})
	p.completed("quoted", "one")
	if got := p.verification("quoted", "one").Verified; got == nil || len(got.Copies) != 2 || !flipped.Load() {
		t.Errorf("flipped: %t, verified: %+v", flipped.Load(), got)
	}
	v.awaitLog("a copy does not verify, it is read once more")
	eventually(t, "the verifier has settled", p.verifierSettled)
	v.term()
	v.await()
}

func TestAVerifierWithoutItsIdentitySaysSoInTheLogOnly(t *testing.T) {
	t.Parallel()
	k := keep(t, events.Requested{ProjectID: "quoted", RequestID: "one"})
	v := k.start("ROLES=verifier", "AGE_IDENTITY_FILE="+k.other, "RETRY_BACKOFF=10ms", "VERIFY_SCRATCH_URL="+cluster.URL("postgres"))
	v.awaitLog("export not verified: the verification could not be made")
	eventually(t, "the verifier has settled", k.verifierSettled)
	if n := k.consumer(events.StreamOutcomes, events.ConsumerVerifier).Delivered.Consumer; n != 5 {
		t.Errorf("%d deliveries, want 5", n)
	}
	if info := k.stream(events.StreamEvents); info.State.NumSubjects > 1 {
		t.Errorf("%d subjects: something was announced beside the start", info.State.NumSubjects)
	}
	v.term()
	v.await()
}

// expectVerifier makes the verifier's consumer, so that a later verifier gets exports that complete
// before it runs.
func (p *platform) expectVerifier() {
	p.t.Helper()
	if err := broker.Provision(p.t.Context(), p.js, broker.Topology{Verifier: true}); err != nil {
		p.t.Fatal(err)
	}
}

// copyStorage copies the folder of exports, for a test that damages it.
func (k *kept) copyStorage(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(k.storage)); err != nil {
		t.Fatal(err)
	}
	return to
}

// flip changes one bit of a file; a negative offset counts from its end.
func flip(t *testing.T, file string, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

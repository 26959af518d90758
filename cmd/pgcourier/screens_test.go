package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/term"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time { t := noon.Add(-d); return &t }

// sampleEntries are requests in every state, some with more to say than fits.
func sampleEntries() []ledger.Entry {
	artifact := &export.Artifact{
		Format: export.Custom, Compression: seal.Zstd, Encryption: seal.Age, Schemas: []string{"tenant_acme"},
		SizeBytes: 1_288_490_188, StoredBytes: 214_748_364, SHA256: strings.Repeat("0123456789abcdef", 4), Tables: 42, Rows: 1_234_567,
		ServerVersion: "15.18", PgDumpVersion: "17.2", Warnings: []string{"the partition audit.events_2025 lies in another schema and is not included"},
		Copies: []export.Copy{
			{Destination: "file", URI: "file:acme/nightly/nightly-2026-11-23.1.dump.zst.age"},
			{Destination: "telegram", Status: export.NotStored, Code: codes.StorageRefused, Message: "Telegram refuses the bot"},
		},
	}
	completed := ledger.Entry{
		ID: export.ID{Project: "acme", Request: "nightly-2026-11-23"}, State: export.Completed, Attempt: 1, Delivery: 1, Worker: "worker-1/4711",
		RequestedBy: "gateway", Metadata: map[string]string{"ticket": "OPS-1"}, Payload: []byte(`{"project_id":"acme","request_id":"nightly-2026-11-23","format":"custom","compression":"zstd"}`),
		CreatedAt: *ago(3 * time.Hour), StartedAt: ago(3 * time.Hour), FinishedAt: ago(175 * time.Minute), PublishedAt: ago(175 * time.Minute),
		Outcome: &export.Outcome{ID: export.ID{Project: "acme", Request: "nightly-2026-11-23"}, State: export.Completed, Attempt: 1,
			StartedAt: *ago(3 * time.Hour), FinishedAt: *ago(175 * time.Minute), Artifact: artifact},
		Attempts: []ledger.Attempt{{Attempt: 1, Worker: "worker-1/4711", Delivery: 1, Object: "acme/nightly/nightly-2026-11-23.1.dump.zst.age",
			Result: "completed", StartedAt: *ago(3 * time.Hour), EndedAt: ago(175 * time.Minute)}},
	}
	message := "the storage did not answer; the export was tried three times, with pauses, and each time the connection was reset"
	id := export.ID{Project: "a-project-with-a-rather-long-name", Request: "20261123t082653-k3j9x7q2m4w5z6ab"}
	failed := ledger.Entry{
		ID: id, State: export.Failed, Attempt: 3, Delivery: 3, Worker: "worker-2/99", Code: codes.StorageUnavailable, Message: message,
		Payload: []byte(`{"project_id":"a-project-with-a-rather-long-name"}`), CreatedAt: *ago(50 * time.Hour), StartedAt: ago(50 * time.Hour),
		FinishedAt: ago(49 * time.Hour), PublishedAt: ago(49 * time.Hour),
		Outcome: &export.Outcome{ID: id, State: export.Failed, Attempt: 3, StartedAt: *ago(50 * time.Hour), FinishedAt: *ago(49 * time.Hour),
			Code: codes.StorageUnavailable, Message: message},
	}
	for n := range 3 {
		begun := failed.CreatedAt.Add(time.Duration(n) * 20 * time.Minute)
		ended := begun.Add(19 * time.Minute)
		failed.Attempts = append(failed.Attempts, ledger.Attempt{Attempt: n + 1, Worker: "worker-2/99", Delivery: n + 1, Result: []string{"retry", "retry", "failed"}[n],
			Code: codes.StorageUnavailable, Message: message, StartedAt: begun, EndedAt: &ended})
	}
	gone := completed
	gone.ID.Request, gone.RemovedAt = "nightly-2026-10-23", ago(time.Hour)
	return []ledger.Entry{
		{ID: export.ID{Project: "東京", Request: "wide"}, State: export.Running, Attempt: 1, CreatedAt: *ago(40 * time.Second), StartedAt: ago(30 * time.Second)},
		{ID: export.ID{Project: "bolt", Request: "again"}, State: export.Waiting, Attempt: 1, Code: codes.LockTimeout, CreatedAt: *ago(4 * time.Minute)},
		completed, failed, gone,
	}
}

func sampleEvents() []events.Event {
	name := func(p, r string) (string, string) { return p, r }
	p, r := name("acme", "nightly-2026-11-23")
	return []events.Event{
		{Started: &events.Started{ProjectID: p, RequestID: r, Attempt: 1, EstimatedBytes: 1 << 30, StartedAt: *ago(time.Minute)}},
		{Progress: &events.Progress{ProjectID: p, RequestID: r, Attempt: 1, SizeBytes: 400 << 20, StoredBytes: 80 << 20, EstimatedBytes: 1 << 30,
			Table: `tenant_acme.a_table_with_quite_a_long_name_of_its_own`, At: noon}},
		{Outcome: events.Outcome{Completed: &events.Completed{ProjectID: p, RequestID: r, StoredBytes: 214_748_364, Rows: 1_234_567, DurationMS: 300_000}}},
		{Outcome: events.Outcome{Failed: &events.Failed{ProjectID: "bolt", RequestID: "again", Code: codes.SourceUnavailable,
			Message: "the source does not answer: connection refused; is the server running, and does it accept connections? \x1b[2J"}}},
	}
}

func sampleReport(dry bool) *replay.Report {
	failed := func(project, id string, code codes.Code) events.Failed {
		return events.Failed{ProjectID: project, RequestID: id, Code: code, Attempts: 3, FinishedAt: *ago(5 * time.Hour)}
	}
	next := func(project, id string, n int) events.Requested {
		return events.Requested{ProjectID: project, RequestID: id}.Replay(n)
	}
	r := replay.NewReport([]replay.Item{
		{Failed: failed("acme", "nightly-2026-11-23", codes.StorageUnavailable), Verdict: replay.Due, Next: next("acme", "nightly-2026-11-23", 1)},
		{Failed: failed("bolt", "20261123t082653-k3j9x7q2m4w5z6ab", codes.LockTimeout), Verdict: replay.Completed, Next: next("bolt", "20261123t082653-k3j9x7q2m4w5z6ab", 2)},
		{Failed: failed("ceres", "weekly", codes.DumpFailed), Verdict: replay.Underway, Next: next("ceres", "weekly", 1)},
		{Failed: failed("ceres", "eabcdefghijklm-7", codes.InvalidRequest), Verdict: replay.Undecodable},
	}, dry)
	if !dry {
		publish := func(_ context.Context, r events.Requested) (string, error) { return r.RequestID, nil }
		if _, err := r.Publish(context.Background(), replay.Publisher{Publish: publish}); err != nil {
			panic(err)
		}
		r.Outcomes = &replay.OutcomeCounts{Completed: 1}
	}
	return r
}

// screens are all outputs that are compared with a golden file.
func screens(s term.Screen) map[string]string {
	all := sampleEntries()
	var watch strings.Builder
	for _, e := range sampleEvents() {
		fmt.Fprintln(&watch, s.EventLine(e))
		switch {
		case e.Started != nil:
			fmt.Fprintln(&watch, s.ProgressLine(events.Progress{ProjectID: "acme", RequestID: "nightly-2026-11-23", EstimatedBytes: 1 << 30, At: e.Started.StartedAt}, e.Started.StartedAt))
		case e.Progress != nil:
			fmt.Fprintln(&watch, s.ProgressLine(*e.Progress, *ago(time.Minute)))
		}
	}
	replaying := func(done int, full string) string { return s.CountLine("replaying", done, 500, full) }
	return map[string]string{
		"list":          listText(s, all),
		"list-failed":   failedText(s, all[3:4]),
		"show":          showText(s, all[2]) + "\n" + showText(s, all[3]),
		"watch":         watch.String(),
		"outcome":       s.OutcomeText(sampleOutcome()) + "\n" + s.OutcomeText(sampleEvents()[3].Outcome),
		"verify":        sampleVerified().text(s),
		"notifications": notificationsText(s, sampleNotifications()),
		"prune":         prunedText(s, samplePruned()),
		"doctor":        doctorText(s, sampleFindings()),
		"tokens":        tokensText(s, sampleTokens()),
		"schedules":     schedulesText(s, sampleSchedules()) + "\n" + s.Pairs(sampleSchedules()[0].Lines()),
		"replay": replayText(s, sampleReport(true)) + "\n" + replaying(0, "") + "\n" + replaying(250, ", the queue of a-project-with-a-rather-long-name is full") + "\n" +
			replaying(500, "") + "\n\n" + replayText(s, sampleReport(false)),
	}
}

// golden compares with a file, or rewrites it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is shown (rewrite it with -update):\n got:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestScreens(t *testing.T) {
	for _, width := range []int{80, 120, 0} {
		for name, text := range screens(term.Screen{Width: width, Now: noon}) {
			file := fmt.Sprintf("%s-%d.txt", name, width)
			if width == 0 {
				file = name + "-piped.txt"
			}
			golden(t, filepath.Join("testdata", "screens", file), text)
			for line := range strings.Lines(text) {
				if n := term.StringWidth(strings.TrimRight(line, "\n")); width > 0 && n > width {
					t.Errorf("%s: %d columns on a screen of %d: %q", name, n, width, line)
				}
			}
			if strings.Contains(text, "\x1b") {
				t.Errorf("%s at %d: an escape without a terminal that takes colours", name, width)
			}
			if width == 0 && strings.Contains(strings.ReplaceAll(text, "….", ""), "…") {
				t.Errorf("%s: cut although it is piped:\n%s", name, text)
			}
		}
	}
}

// Users copy ids: an id is cut only if nothing else can be cut.
func TestIDsAreWholeWhereTheyFit(t *testing.T) {
	for _, c := range []struct {
		width int
		name  string
		ids   []string
	}{
		{120, "list", []string{"nightly-2026-11-23", "20261123t082653-k3j9x7q2m4w5z6ab", "again"}},
		{80, "list", []string{"nightly-2026-11-23", "again"}},
		{120, "notifications", []string{"webhook-odby4g65bnksar7tsajo7cvnoi", "email-6bmqz5vjv2cnjv7x2jkn3y4f5e"}},
		{60, "notifications", []string{"webhook-odby4g65bnksar7tsajo7cvnoi", "email-6bmqz5vjv2cnjv7x2jkn3y4f5e"}},
	} {
		text := screens(term.Screen{Width: c.width, Now: noon})[c.name]
		for _, id := range c.ids {
			if !strings.Contains(text, id) {
				t.Errorf("at %d %s is cut:\n%s", c.width, id, text)
			}
		}
	}
}

func TestColoursAreForTerminalsThatTakeThem(t *testing.T) {
	plain, painted := screens(term.Screen{Width: 120, Now: noon}), screens(term.Screen{Width: 120, Now: noon, Colour: true})
	for name, text := range painted {
		if !slices.Contains([]string{"replay", "outcome", "verify"}, name) && !strings.Contains(text, "\x1b[") {
			t.Errorf("%s has no colour", name)
		}
		for _, p := range []string{"1", "31", "32", "33"} {
			text = strings.ReplaceAll(text, "\x1b["+p+"m", "")
		}
		if text = strings.ReplaceAll(text, "\x1b[0m", ""); text != plain[name] {
			t.Errorf("%s: colours change the text:\n%s\nwithout them:\n%s", name, text, plain[name])
		}
	}
}

// docs/cli-json.md shows the output of --output json unchanged.
func TestTheJSONIsDocumented(t *testing.T) {
	all := sampleEntries()
	samples := map[string]any{
		"request":     map[string]string{"project_id": "acme", "request_id": "nightly-2026-11-23"},
		"list":        []ledger.Entry{all[1]},
		"show":        all[2],
		"show failed": all[3],
		"watch":       term.EventJSON(sampleEvents()[1]),
		"cancel":      events.CancelReply{RequestID: "nightly-2026-11-23", ProjectID: "acme", Result: events.CancelAccepted, Message: "the request is cancelled"},
		"cancel --restore": events.RestoreCancelReply{
			RestoreID: "clone-7", ProjectID: "acme-staging", Result: events.CancelAccepted, Message: "the restore is cancelled",
		},
		"show --restore": term.Restore{
			ProjectID: "acme-staging", RestoreID: "clone-7", From: "acme/nightly-2026-11-23", State: "completed", Attempt: 2, RequestedBy: "ann",
			CreatedAt: noon, StartedAt: new(noon.Add(time.Second)), FinishedAt: new(noon.Add(time.Minute)),
			Restored: []byte(`{"from":{"project_id":"acme","request_id":"nightly-2026-11-23"},"mode":"create","schemas":["staging"],"tables":2,"rows":7,"server_version":"15.18"}`),
			Request:  []byte(`{"project_id":"acme-staging","restore_id":"clone-7","from":{"project_id":"acme","request_id":"latest"},"mode":"create"}`),
			Attempts: []term.Attempt{
				{Attempt: 1, Worker: "host-a", Delivery: 1, Result: "retry", Code: "lock_timeout", Message: "open sessions hold what is to be replaced", StartedAt: noon.Add(time.Second), EndedAt: new(noon.Add(12 * time.Second))},
				{Attempt: 2, Worker: "host-a", Delivery: 2, Result: "completed", StartedAt: noon.Add(20 * time.Second), EndedAt: new(noon.Add(time.Minute))},
			},
		},
		"replay":          sampleReport(false).Items[0],
		"replay --failed": sampleReport(false),
		"notifications":   sampleNotifications(),
		"verify":          []verified{sampleVerified(), sampleDamaged()},
		"download":        sampleDownloaded(),
		"restore":         sampleRestored(),
		"restore --replace": restore.Placed{
			ID: "undo-4711", ServerVersion: "15.18", Schemas: []string{"acme"},
			Tables: []restore.TableContent{{Table: export.Table{Schema: "acme", Name: "orders"}, Rows: 2000, Hash: "-71350221870340915316"}},
			Kept:   []string{"acme_before_20261123t021500_undo-4711"}, KeptUntil: noon.Add(7 * 24 * time.Hour), PlacedAt: noon,
		},
		"restore --plan": restore.Plan{
			ServerVersion: "15.18", Schemas: []string{"acme"}, Tables: []export.Table{{Schema: "acme", Name: "orders"}}, Rows: 2000,
			Aside: []string{"acme.orders"}, Missing: []string{`role "reporting"`},
		},
		"recover":      sampleRecovery(),
		"migrate":      migration{4},
		"token create": createdToken{sampleTokens()[0], access.TokenPrefix + strings.Repeat("x", 33)},
		"token list":   sampleTokens()[:1],
		"prune":        samplePruned(),
		"doctor":       sampleFindings()[1:3],
		"doctor --drift": []doctor.Finding{{
			Check: "drift/s3", State: doctor.Fault, Found: "1 missing although the ledger has them: " + sampleKey,
			Fix: "see docs/retention.md", Drift: &doctor.Drift{Missing: []string{sampleKey}},
		}},
		"schedule add": sampleSchedules()[0],
		"schedule rm":  scheduleRemoved{Project: "acme", Name: "nightly", Removed: true},
		"broker config": brokerUsers{
			Keys:       server.PublicKeys{server.UserGateway: "UB52JMEKB57ZDNGQ3XOBTSSGZ2KCXIZUYBV2TJKMCIWN4O6UBADZOKGG"},
			Publishers: map[string]string{"acme": "UB52JMEKB57ZDNGQ3XOBTSSGZ2KCXIZUYBV2TJKMCIWN4O6UBADZOKGG"}, Configuration: "accounts { }\n",
		},
		"rm": []stored.Removed{{ID: "acme/nightly-2026-11-23", Key: sampleKey, From: "s3", Result: "deleted"}, {ID: "acme/nightly-2026-11-23", Key: sampleKey, From: "telegram", Result: "tombstoned"}},
	}
	file := filepath.Join("..", "..", "docs", "cli-json.md")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, v := range samples {
		var out bytes.Buffer
		if err := term.WriteJSON(&out, v); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(out.Bytes()) {
			t.Errorf("%s: not JSON", name)
		}
		begin, end := "<!-- json "+name+" -->\n", "<!-- /json -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("docs/cli-json.md lacks the part %q", name)
		}
		text = before + begin + "```json\n" + out.String() + "```\n" + end + after
	}
	golden(t, file, text)
}

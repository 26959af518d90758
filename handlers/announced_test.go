package handlers_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestAnAnnouncedExportIsReadAgain(t *testing.T) {
	t.Parallel()
	asked := events.Requested{ProjectID: "acme", RequestID: "r1", StoragePath: "monthly/2026", Format: events.FormatCustom, Compression: events.CompressionZstd}
	payload, err := asked.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 30, 1, 2, 3, 456000000, time.UTC)
	want := export.Manifest{Version: 1, Key: "acme/monthly/2026/r1.2.dump.zst.age", Outcome: export.Outcome{
		ID: export.ID{Project: "acme", Request: "r1"}, State: export.Completed, Attempt: 2, StartedAt: began, FinishedAt: began.Add(time.Minute),
		Payload: payload, RequestedBy: "ada", Metadata: map[string]string{"ticket": "7"},
		Artifact: &export.Artifact{
			Format: export.Custom, Compression: seal.Zstd, Level: seal.Best, Encryption: seal.Age, Schemas: []string{"tenant_acme"},
			SizeBytes: 100, StoredBytes: 50, SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Tables: 2, Rows: 3,
			ServerVersion: "15.18", PgDumpVersion: "15.18", Warnings: []string{"publications are left out"}, Recipients: []string{"SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg"},
			Receipt: &export.Receipt{SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", KeyID: "SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg"},
			Copies: []export.Copy{
				{Destination: "file", Status: export.Stored, URI: "file:acme/monthly/2026/r1.2.dump.zst.age", Receipt: "file:acme/monthly/2026/r1.2.dump.zst.age.receipt.json"},
				{Destination: "s3", Status: export.NotStored, Code: "storage_unavailable", Message: "no answer"},
			},
		},
	}}
	m, err := handlers.EncodeOutcome(want.Outcome, "/test")
	if err != nil {
		t.Fatal(err)
	}
	out, err := events.DecodeOutcome(m)
	if err != nil || out.Completed == nil {
		t.Fatalf("decoded %+v, %v", out, err)
	}
	got, err := handlers.DecodeAnnounced(*out.Completed)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v with %+v, %v\nwant %+v with %+v", got, got.Artifact, err, want, want.Artifact)
	}
	out.Completed.Request = nil // left out of an event that was too large
	if got, err := handlers.DecodeAnnounced(*out.Completed); err != nil || got.Key != "" || got.Attempt != 2 {
		t.Errorf("without its request: %+v, %v", got, err)
	}
}

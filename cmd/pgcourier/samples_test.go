package main

import (
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/stored"
)

const sampleKey = "acme/nightly/nightly-2026-11-23.1.dump.zst.age"

func sampleOutcome() events.Outcome {
	return events.Outcome{Completed: &events.Completed{
		ProjectID: "acme", RequestID: "nightly-2026-11-23", Format: events.FormatCustom, Compression: events.CompressionZstd, Encryption: events.EncryptionAge,
		SizeBytes: 1_288_490_188, StoredBytes: 214_748_364, SHA256: strings.Repeat("0123456789abcdef", 4), Tables: 42, Rows: 1_234_567, DurationMS: 300_000,
		Storage: []events.Location{
			{Destination: "s3", URI: "s3://backups/prod/acme/nightly/a-label-of-its-own/nightly-2026-11-23.1.dump.zst.age"},
			{Destination: "telegram", Status: events.LocationFailed, Code: codes.StorageRefused, Message: "Telegram refuses the bot \x1b[2J"},
		},
		Warnings: []string{"the partition audit.events_2025 lies in another schema and is not included"},
	}}
}

func sampleVerified() verified {
	return verified{
		ID: "acme/nightly-2026-11-23", Key: sampleKey, At: "s3", OK: true,
		StoredBytes: 214_748_364, SHA256: strings.Repeat("0123456789abcdef", 4), SizeBytes: 1_288_490_188, DumpSHA256: strings.Repeat("fedcba9876543210", 4),
		Tables: 42, Rows: 1_234_567, DurationMS: 12_000, Restored: &restored{ServerVersion: "15.18", DurationMS: 34_000},
	}
}

func sampleNotifications() []notify.Record {
	return []notify.Record{
		{
			Key: "webhook-odby4g65bnksar7tsajo7cvnoi", State: notify.Waiting, Channel: notify.Webhook, Recipient: notify.WebhookRecipient,
			ProjectID: "acme", RequestID: "nightly-2026-11-23", Event: "backup.completed.acme.nightly-2026-11-23", Tries: 2,
			Cause:     "post to the webhook: dial tcp 127.0.0.1:9: connect: connection refused",
			CreatedAt: *ago(time.Hour), UpdatedAt: *ago(time.Minute), NextTryAt: noon.Add(time.Minute),
		},
		{
			Key: "email-6bmqz5vjv2cnjv7x2jkn3y4f5e", State: notify.Parked, Channel: notify.Email, Recipient: "somebody.with.a.long.name@mail.example.com",
			ProjectID: "a-project-with-a-rather-long-name", RequestID: "20261123t082653-k3j9x7q2m4w5z6ab", Tries: 1,
			Event:     "backup.failed.a-project-with-a-rather-long-name.20261123t082653-k3j9x7q2m4w5z6ab",
			Cause:     "the domain of the address is outside the domains that may be told \x1b[2J",
			CreatedAt: *ago(time.Hour), UpdatedAt: *ago(time.Hour),
		},
	}
}

func sampleTokens() []access.Token {
	used := access.Token{
		ID: "k3j9x7q2m4", Project: "acme", Scopes: []access.Scope{access.Download, access.Export, access.Read}, Label: "the customer's portal",
		CreatedAt: *ago(48 * time.Hour), CreatedBy: "ann", ExpiresAt: ago(-88 * 24 * time.Hour), LastUsedAt: ago(time.Minute), LastUsedFrom: "192.0.2.7",
	}
	revoked := access.Token{
		ID: "w5z6abq2m4", Project: "a-project-with-a-rather-long-name", Scopes: []access.Scope{access.Admin}, Label: "\x1b[2J",
		CreatedAt: *ago(480 * time.Hour), RevokedAt: ago(time.Hour), RevokedBy: "ann",
	}
	expired := access.Token{ID: "a2b3c4d5e6", Project: access.AllProjects, Scopes: []access.Scope{access.Read}, CreatedAt: *ago(100 * time.Hour), ExpiresAt: ago(time.Hour)}
	return []access.Token{used, revoked, expired}
}

func sampleSchedules() []broker.ScheduleStatus {
	nightly := broker.Schedule{
		Project: "acme", Name: "nightly", Pattern: "0 0 3 * * *", Zone: "Europe/Berlin", Written: *ago(48 * time.Hour), LastDue: *ago(10 * time.Hour),
		Body: []byte(`{"project_id":"acme","format":"custom","compression":"zstd","requested_by":"schedule:nightly"}`),
	}
	often, paused, foreign := nightly, nightly, nightly
	often.Project, often.Name, often.Pattern, often.Zone = "a-project-with-a-rather-long-name", "often", "@every 6h0m0s", ""
	paused.Name, paused.Paused = "paused", true
	foreign.Name, foreign.Pattern, foreign.Zone, foreign.Body = "by-hand", "0 0 3 * * \x1b[2J", "", []byte("rubbish")
	var out []broker.ScheduleStatus
	for _, s := range []broker.Schedule{nightly, often, paused, foreign} {
		out = append(out, s.Status(noon))
	}
	return out
}

func samplePruned() pruned {
	request := func(id string, age time.Duration, verified, keep bool, why ...string) retention.Verdict {
		return retention.Verdict{
			Decision: retention.Decision{
				Export: retention.Export{ID: export.ID{Project: "acme", Request: id}, FinishedAt: *ago(age), Verified: verified}, Keep: keep, Why: why,
			},
			Step: retention.Kept, Record: retention.Record{StoredBytes: 214_748_364},
		}
	}
	newest := request("nightly-2026-11-23", 9*time.Hour, false, true, "last 1 of 7", "daily 2026-11-23", "newest good export")
	checked := request("nightly-2026-11-20", 81*time.Hour, true, true, "daily 2026-11-20", "newest verified export")
	going := request("20261123t082653-k3j9x7q2m4w5z6ab", 400*time.Hour, false, false, "no rule keeps it")
	going.Step, going.DeleteAt = retention.Notified, noon.Add(20*time.Hour)
	failing := request("nightly-2026-10-01", 1300*time.Hour, false, false, "older than max-age=30d")
	failing.Step, failing.DeleteAt, failing.Fault = retention.Failing, *ago(time.Hour), "s3: delete acme/nightly-2026-10-01.1.sql.gz: the storage does not answer \x1b[2J"
	return newPruned(retention.Report{
		At: noon, Verdicts: []retention.Verdict{newest, checked, going, failing},
		Rules:  map[string]retention.Rules{"acme": {Policy: retention.Policy{Last: 7, Daily: 14}, From: retention.FromRule, Projects: "ac*"}},
		Spared: map[string]string{"bolt": "the control plane has no such project"},
	}, false)
}

func sampleDamaged() verified {
	return verified{ID: "acme/nightly-2026-11-23", Key: sampleKey, At: "file", Error: "file: the stored bytes are not the hashed ones"}
}

func sampleDownloaded() downloaded {
	return downloaded{
		ID: "acme/nightly-2026-11-23", Key: sampleKey, From: "s3", File: "nightly-2026-11-23.1.dump.zst.age",
		Bytes: 214_748_364, SHA256: strings.Repeat("0123456789abcdef", 4),
	}
}

func sampleRestored() restoredTo {
	return restoredTo{
		ID: "acme/nightly-2026-11-23", Key: sampleKey, From: "s3", Database: "acme", ServerVersion: "15.18",
		Tables: 42, Rows: 1_234_567, CheckMS: 12_000, RestoreMS: 34_000,
	}
}

func sampleRecovery() stored.Recovery {
	return stored.Recovery{
		Exports: 12, Recovered: []string{"acme/nightly-2026-11-23"}, Known: 10,
		Faults: map[string]string{"s3:acme/old.1.sql.gz.manifest.json": "the manifest is damaged"},
	}
}

func sampleFindings() []doctor.Finding {
	return []doctor.Finding{
		{Check: "clients/pg_dump", State: doctor.OK, Found: "17.6 in /usr/lib/postgresql/17/bin/pg_dump"},
		{Check: "database", State: doctor.OK, Found: "PostgreSQL 17.6, database platform, login pgcourier_worker"},
		{
			Check: "database/ledger", State: doctor.Fault, Found: "the login lacks UPDATE on pgcourier.attempts, UPDATE on pgcourier.requests",
			Fix: "grant it: see docs/least-privilege.md",
		},
		{
			Check: "broker/streams/BACKUP_REQUESTS/export-worker", State: doctor.Fault, Found: "max deliver is 9, needed is 3; ack wait is 10s, needed is 30s",
			Fix: "run `pgcourier broker setup` as the broker's administrator with the workers' settings, or give the workers the broker's",
		},
		{Check: "storage/s3", State: doctor.Unreachable, Found: "look for the bucket: dial tcp 192.0.2.7:443: i/o timeout", Fix: "is it running, and can this machine reach it? Its address is in PGCOURIER_STORAGE"},
		{Check: "disk/file", State: doctor.Warning, Found: "41 GiB free; the largest recent export took 18 GiB", Fix: "free room on this disk or move the folder to a larger one; see retention"},
		{Check: "notify/email", State: doctor.Skipped, Found: "not set up"},
	}
}

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// plantedFault is one fault in an otherwise healthy platform.
type plantedFault struct {
	name     string
	settings []string
	inject   func() // nil: the settings are the fault
	undo     func()

	check      string // that must name it
	state      doctor.State
	found, fix string   // parts of its text
	also       []string // other checks, or groups of them, that are affected too
}

const acmeQuery = "SELECT id, name, true AS active, ARRAY[schema_name] AS schemas%s FROM control_plane.projects WHERE id = $1"

// plantedFaults are the faults, each with the checks that depend on what is broken.
func (h *healthyPlatform) plantedFaults() []plantedFault {
	query := func(more string) string { return "PROJECT_QUERY=" + fmt.Sprintf(acmeQuery, more) }
	sql := func(text string) func() { return func() { h.exec(text) } }
	storage := func(place string) string { return "STORAGE=file://" + h.storage + "," + place + "&required=true" }
	all := h.databaseFaults(query, sql)
	return append(all, []plantedFault{
		{
			name: "no folder for exports", settings: []string{"STORAGE=file://" + h.file("a-file", "")},
			check: "storage/file", found: "not a directory", fix: "let this user write", also: []string{"storage"},
		}, {
			name: "no bucket", settings: []string{storage(h.bucket("elsewhere"))},
			check: "storage/s3", found: "bucket does not exist", fix: "correct its name", also: []string{"storage"},
		}, {
			name: "a wrong key", settings: []string{"PLAIN_AWS_ACCESS_KEY_ID=other"},
			check: "storage/s3", found: "refuses the worker's credentials", fix: "AWS_ACCESS_KEY_ID", also: []string{"storage/s3"},
		}, {
			name: "the storage's file system is not mounted", inject: func() { h.swap(h.storage, h.storage+".away", os.Mkdir(h.storage+".away", 0o700)) },
			undo:  func() { h.swap(h.storage, h.storage+".away", nil); h.must(os.Remove(h.storage + ".away")) },
			check: "storage/file/marker", found: "it has no marker", fix: "mount the file system", also: []string{"storage/file", "disk/file"},
		}, {
			name:   "another worker's folder under the same address",
			inject: sql(`UPDATE pgcourier.storages SET storage = reverse(storage)`), undo: sql(`UPDATE pgcourier.storages SET storage = reverse(storage)`),
			check: "storage/file/marker", found: "folders of their own", fix: "one folder", also: []string{"storage/file"},
		}, {
			name: "no chat", settings: []string{h.telegram(77)},
			check: "storage/telegram", found: "chat not found", fix: "correct PGCOURIER_TELEGRAM_TOKEN or the chat's id",
		}, {
			name: "no chat to tell", settings: []string{strings.ReplaceAll(h.setting("NOTIFY_TELEGRAM_CHAT"), "4242", "77")},
			check: "notify/telegram", found: "chat not found", fix: "correct PGCOURIER_NOTIFY_TELEGRAM_CHAT",
		}, {
			name: "the mail server refuses the login", settings: []string{"SMTP_URL=" + h.mail(marked+"-wrong")},
			check: "notify/email", found: "535", fix: "correct the user or the password in PGCOURIER_SMTP_URL", also: []string{"notify/email"},
		}, {
			name: "no server at the webhook's address", settings: []string{"WEBHOOK_URL=http://" + freeAddress(h.t) + "/" + marked},
			check: "notify/webhook", state: doctor.Unreachable, found: "connection refused", fix: "is it running",
		}, {
			name: "a webhook's certificate of an unknown authority", settings: []string{"WEBHOOK_URL=" + h.untrustedServer() + "/" + marked},
			check: "notify/webhook", found: "certificate", fix: "trust the authority",
		}, {
			name:   "the disk is smaller than an export",
			inject: sql(`UPDATE pgcourier.requests SET outcome = jsonb_set(outcome::jsonb, '{artifact,stored_bytes}', '1152921504606846976')::json`),
			undo:   sql(`UPDATE pgcourier.requests SET outcome = jsonb_set(outcome::jsonb, '{artifact,stored_bytes}', '1')::json`),
			check:  "disk/file", found: "the largest recent export took 1.0 EiB", fix: "free room",
		}, {
			name: "an identity that is not there", settings: []string{"AGE_IDENTITY_FILE=/nonexistent/identity"},
			check: "keys/identity", found: "no such file", fix: "AGE_IDENTITY_FILE", also: []string{"keys"},
		}, {
			name: "another identity than the recipients'", settings: []string{"AGE_IDENTITY_FILE=" + h.otherIdentity()},
			check: "keys/match", found: "no identity opens", fix: "AGE_RECIPIENTS",
		}, {
			name: "exports that were never opened", settings: []string{"AGE_IDENTITY_FILE="},
			check: "keys/match", state: doctor.Warning, found: "no identity has been shown to open the exports", fix: "--age-identity-file", also: []string{"keys/identity"},
		}, {
			name: "exports that were opened long ago", settings: []string{"AGE_IDENTITY_FILE="},
			inject: sql(`INSERT INTO pgcourier.verifications SELECT project_id, request_id, false, '2020-02-03' FROM pgcourier.requests LIMIT 1;
				GRANT SELECT ON pgcourier.verifications TO ` + h.login),
			undo:  sql(`DELETE FROM pgcourier.verifications; REVOKE ALL ON pgcourier.verifications FROM ` + h.login),
			check: "keys/match", state: doctor.Warning, found: "last opened an export on 2020-02-03", fix: "run a verifier", also: []string{"keys/identity"},
		}, {
			name: "a link key for each process", settings: []string{"LINK_KEY="},
			check: "keys/link", state: doctor.Warning, found: "refuses links of another key", fix: "PGCOURIER_LINK_KEY_FILE",
		}, {
			name: "a receipt key for each process", settings: []string{"RECEIPT_KEY="},
			check: "keys/receipt", state: doctor.Warning, found: "receipt.pem", fix: "PGCOURIER_RECEIPT_KEY_FILE",
		}, {
			name: "a link key that is too short", settings: []string{"LINK_KEY=" + marked},
			check: "keys/link", found: "fewer than 32 characters", fix: "correct PGCOURIER_LINK_KEY",
		}, {
			name: "a receipt key that is no key", settings: []string{"RECEIPT_KEY=" + marked},
			check: "keys/receipt", found: "no PEM block", fix: "correct PGCOURIER_RECEIPT_KEY",
		}, {
			name: "a link key in DATA_DIR that is too short", settings: []string{"LINK_KEY="},
			inject: func() { h.must(os.WriteFile(handover.KeyFile(h.data), []byte(marked), 0o600)) },
			undo:   func() { h.must(os.Remove(handover.KeyFile(h.data))) },
			check:  "keys/link", found: "fewer than 32 characters", fix: "link.key",
		}, {
			name: "a link key in DATA_DIR that others may read", settings: []string{"LINK_KEY="},
			inject: func() {
				h.must(os.WriteFile(handover.KeyFile(h.data), []byte(strings.Repeat(marked, 6)), 0o600))
				h.must(os.Chmod(handover.KeyFile(h.data), 0o644))
			},
			undo:  func() { h.must(os.Remove(handover.KeyFile(h.data))) },
			check: "keys/link", found: "may be read by others", fix: "link.key",
		}, {
			name: "retention that does not parse", settings: []string{"RETENTION=all=1"},
			check: "retention", found: "PGCOURIER_RETENTION", fix: "docs/retention.md", also: []string{"database/ledger"},
		}, {
			name: "retention that no process applies", settings: []string{"RETENTION=last=7", "ROLES=intake,worker,sweeper,notifier"},
			inject: sql(`UPDATE pgcourier.pruning SET completed_at = NULL; GRANT SELECT ON pgcourier.pruning TO ` + h.login),
			undo:   sql(`REVOKE ALL ON pgcourier.pruning FROM ` + h.login),
			check:  "retention", state: doctor.Warning, found: "nothing has ever been pruned", fix: "serve --roles pruner", also: []string{"database/ledger"},
		}, {
			name: "the broker is away", settings: []string{"NATS_URL=nats://" + freeAddress(h.t)},
			check: "broker", state: doctor.Unreachable, found: "broker unreachable", fix: "NATS_URL", also: []string{"broker"},
		}, {
			name: "another setting of a stream", inject: func() {
				h.change(func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 5 })
			}, undo: func() { h.provision(h.settings...) },
			check: "broker/streams/BACKUP_REQUESTS", found: "max messages per subject is 5, needed is 100", fix: "pgcourier broker setup", also: []string{"broker/streams"},
		}, {
			name: "a consumer that delivers more often", inject: func() {
				consumer := h.consumer(events.StreamRequests, events.ConsumerExport).Config
				consumer.MaxDeliver = 9
				if _, err := h.js.UpdateConsumer(h.ctx, events.StreamRequests, consumer); err != nil {
					h.t.Fatal(err)
				}
			}, undo: func() { h.provision(h.settings...) },
			check: "broker/streams/BACKUP_REQUESTS/export-worker", found: "max deliver is 9, needed is 3", fix: "pgcourier broker setup", also: []string{"broker/streams"},
		}, {
			name: "a consumer that is paused", inject: func() {
				if _, err := h.js.PauseConsumer(h.ctx, events.StreamRequests, events.ConsumerExport, time.Now().Add(time.Hour)); err != nil {
					h.t.Fatal(err)
				}
			}, undo: func() {
				if _, err := h.js.ResumeConsumer(h.ctx, events.StreamRequests, events.ConsumerExport); err != nil {
					h.t.Fatal(err)
				}
			},
			check: "broker/streams/BACKUP_REQUESTS/export-worker", found: "is paused on the broker until", fix: "nats consumer resume BACKUP_REQUESTS export-worker", also: []string{"broker/streams"},
		}, {
			name: "a bucket that keeps versions", inject: func() { h.keeping.Store(keepVersions) }, undo: func() { h.keeping.Store(keepNothing) },
			check: "storage/s3/versions", state: doctor.Warning, found: "keeps versions", fix: "a lifecycle rule",
		}, {
			name: "a bucket that locks its objects", inject: func() { h.keeping.Store(keepLocked) }, undo: func() { h.keeping.Store(keepNothing) },
			check: "storage/s3/versions", state: doctor.Warning, found: "locks each new object for 10 years (COMPLIANCE)", fix: "default retention",
		}, {
			name: "a right on the broker is missing", settings: h.withoutRight(`"backup.completed.*.*"`),
			check: "broker/worker", found: "may not publish backup.completed.*.*", fix: "pgcourier broker config",
		}, {
			name: "the API without a key of its own", settings: h.withoutAPIKey(),
			check: "broker/api", state: doctor.Warning, found: "has no key of the role api", fix: "pgcourier broker config",
		}, {
			name: "a key that the broker does not know", settings: []string{"NATS_KEYS=" + h.otherKeys()},
			check: "broker", found: "refused the credentials", fix: "give the broker this user's key", also: []string{"broker"},
		},
	}...)
}

func (h *healthyPlatform) databaseFaults(query func(string) string, sql func(string) func()) []plantedFault {
	down := []string{"database", "projects", "retention/deletions", "storage/file/marker", "storage/s3/marker"}
	old := faulty(h.t)
	const toAcme = "RESTORE_QUERY=SELECT NULL::text AS dsn, NULL::text AS schema, NULL::text AS owner, NULL::text[] AS allow_from, true AS allow_replace WHERE $1 = 'acme'"
	return []plantedFault{
		{
			name: "a wrong password", settings: []string{"DATABASE_URL=" + h.dsn(h.login, marked+"-wrong", h.database)},
			check: "database", found: "SQLSTATE 28P01", fix: "correct the user or the password in PGCOURIER_DATABASE_URL", also: down,
		}, {
			name: "no such database", settings: []string{"DATABASE_URL=" + h.dsn(h.login, marked+"-db", "no_such_database")},
			check: "database", found: "SQLSTATE 3D000", fix: "correct the name of the database", also: down,
		}, {
			name: "the database is away", settings: []string{"DATABASE_URL=postgres://u:canary-x@" + freeAddress(h.t) + "/x"},
			check: "database", state: doctor.Unreachable, found: "connection refused", fix: "is it running", also: down,
		}, {
			name: "the database hangs", settings: []string{"DATABASE_URL=postgres://u:canary-x@" + h.silentAddress() + "/x?connect_timeout=1"},
			check: "database", state: doctor.Unreachable, found: "failed to connect", fix: "is it running", also: down,
		}, {
			name: "a standby", inject: sql("ALTER ROLE " + h.login + " SET default_transaction_read_only = on"),
			undo:  sql("ALTER ROLE " + h.login + " RESET default_transaction_read_only"),
			check: "database", found: "takes no writes", fix: "name the primary",
		}, {
			name: "more connections than the server gives", settings: []string{"DATABASE_URL=" + h.dsn(h.login, marked+"-db", h.database) + "&pool_max_conns=5000"},
			check: "database/connections", found: "up to 5000 connections", fix: "pool_max_conns",
		}, {
			name: "an old ledger", inject: sql("UPDATE pgcourier.schema_version SET version = version - 1"),
			undo:  sql("UPDATE pgcourier.schema_version SET version = version + 1"),
			check: "database/ledger", found: "not up to date", fix: "pgcourier migrate", also: down[1:],
		}, {
			name: "no right to a table of the ledger", inject: sql("REVOKE UPDATE ON pgcourier.attempts FROM " + h.login),
			undo:  sql("GRANT UPDATE ON pgcourier.attempts TO " + h.login),
			check: "database/ledger", found: "UPDATE on pgcourier.attempts", fix: "docs/least-privilege.md",
		}, {
			name: "a deletion that keeps failing", inject: sql(`INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at, deleting_at, tries, fault)
				SELECT project_id, request_id, 'no rule', now(), now(), 3, 's3: access denied' FROM pgcourier.requests WHERE project_id = 'acme'`),
			undo:  sql("DELETE FROM pgcourier.expiries"),
			check: "retention/deletions", found: "in 3 runs: s3: access denied", fix: "pgcourier prune",
		}, {
			name: "a project query with a wrong column", settings: []string{query(", 1 AS dns")},
			check: "database/query", found: `column "dns" is unknown`, fix: "PGCOURIER_PROJECT_QUERY", also: []string{"projects"},
		}, {
			name: "a schema of the markers that belongs to another role", settings: []string{toAcme},
			inject: sql("CREATE ROLE other_" + h.database + "; CREATE SCHEMA pgcourier_restore AUTHORIZATION other_" + h.database),
			undo:   sql("DROP SCHEMA pgcourier_restore; DROP ROLE other_" + h.database),
			check:  "restores/acme", found: "schema pgcourier_restore belongs to role other_" + h.database, fix: "docs/restore-as-event.md",
		}, {
			name: "a table of the markers with a rule", settings: []string{toAcme},
			inject: sql(`CREATE SCHEMA pgcourier_restore; CREATE TABLE pgcourier_restore.markers (id text PRIMARY KEY);
				CREATE RULE ignores AS ON INSERT TO pgcourier_restore.markers DO INSTEAD NOTHING`),
			undo:  sql("DROP SCHEMA pgcourier_restore CASCADE"),
			check: "restores/acme", found: "table pgcourier_restore.markers has a rule", fix: "docs/restore-as-event.md",
		}, {
			name: "no database at the target's dsn", settings: []string{strings.ReplaceAll(toAcme, "NULL::text AS dsn", "'postgres://u@"+freeAddress(h.t)+"/x' AS dsn")},
			check: "restores/acme", state: doctor.Unreachable, found: "connection refused", fix: "PGCOURIER_RESTORE_QUERY",
		}, {
			name: "tables that no query can count", inject: sql(`CREATE FUNCTION tenant_acme.helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
				CREATE FUNCTION tenant_acme.look(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
				CREATE TABLE tenant_acme.unplanned (a int); CREATE INDEX ON tenant_acme.unplanned (tenant_acme.look(a)); GRANT SELECT ON tenant_acme.unplanned TO ` + h.login + `;
				SET search_path = tenant_acme; CREATE OR REPLACE FUNCTION tenant_acme.look(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'; RESET search_path`),
			undo:  sql("DROP TABLE tenant_acme.unplanned; DROP FUNCTION tenant_acme.look, tenant_acme.helper"),
			check: "projects/acme", state: doctor.Warning, found: "rows are counted by COPY", fix: "see what its exports leave out",
		}, {
			name: "a role that is not granted", settings: []string{query(", 'postgres' AS role")},
			check: "projects/acme", found: "the project's role cannot be taken", fix: "GRANT role TO login",
		}, {
			name: "pg_dump older than the server", settings: []string{"PG_BIN_DIR=" + tools(h.t, "9.6.24"), "CLIENT_CHECK=off"},
			check: "database/pg_dump", found: "the newest pg_dump here is 9.6.24", fix: "install postgresql-client-", also: []string{"projects/acme"},
		}, {
			name: "pg_dump newer than any known", settings: []string{"PG_BIN_DIR=" + tools(h.t, "99.1")}, state: doctor.Warning,
			check: "database/pg_dump", found: fmt.Sprintf("tested up to PostgreSQL %d", pgversion.Newest), fix: "look for a newer pgcourier",
		}, {
			name: "pg_dump with published faults", settings: []string{"PG_BIN_DIR=" + tools(h.t, old.version), "CLIENT_CHECK=refuse"},
			check: "clients/pg_dump", found: old.cve, fix: "install " + old.fixes, also: []string{"clients"},
		},
	}
}

// Each planted fault is named by its own check, with the fix. The checks that do not depend on it
// are unchanged. No line holds a secret.
func TestDoctorNamesEachPlantedFault(t *testing.T) {
	t.Parallel()
	h := setupHealthyPlatform(t)
	chat := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(chat.Close)
	h.settings = append(h.settings, "NOTIFY_HOOKS=slack+"+chat.URL+"/"+marked)
	h.provision(h.settings...)
	healthy := h.diagnose(0, h.settings)
	for name, f := range healthy {
		if f.State != doctor.OK && name != "broker/sync" && name != "sandbox" && name != "notify/hooks" && !shared(name) {
			t.Errorf("without a fault: %+v", f)
		}
	}
	if f := h.diagnose(0, append(slices.Clone(h.settings), h.telegram(privateChat)), "--only", "storage")["storage/telegram"]; f.State != doctor.OK {
		t.Errorf("a chat without a fault: %+v", f)
	}
	one := append(slices.Clone(h.settings), "NATS_URL=", "NATS_KEYS=", "LINK_KEY=", "RECEIPT_KEY=")
	own := h.diagnose(0, one, "--only", "keys")
	for _, name := range []string{"keys/link", "keys/receipt"} {
		if own[name].State != doctor.OK {
			t.Errorf("with the embedded broker, %s: %+v", name, own[name])
		}
	}
	faults := h.plantedFaults()
	if len(faults) < 12 {
		t.Errorf("%d faults", len(faults))
	}
	for _, f := range faults {
		h.plant(f, healthy)
	}
	if mails := len(h.smtp.Mails()); mails != 0 || len(h.chat.documents()) != 0 {
		t.Errorf("%d mails and the files %q were left", mails, h.chat.documents())
	}
}

// shared reports whether a check looks at what other tests use too: disks, and the server's sessions.
func shared(check string) bool {
	return strings.HasPrefix(check, "disk/") || check == "database/connections"
}

// plant runs doctor while one fault exists, and compares the output with that of a healthy
// platform.
func (h *healthyPlatform) plant(fault plantedFault, healthy diagnosis) {
	h.t.Helper()
	if fault.inject != nil {
		fault.inject()
		defer fault.undo()
	}
	code := 1
	switch fault.state {
	case doctor.Unreachable:
		code = 5
	case doctor.Warning:
		code = 0
	default:
	}
	if fault.state == "" {
		fault.state = doctor.Fault
	}
	found := h.diagnose(code, append(slices.Clone(h.settings), fault.settings...))
	if f := found[fault.check]; f.State != fault.state || !strings.Contains(f.Found, fault.found) || !strings.Contains(f.Fix, fault.fix) {
		h.t.Errorf("%s: %s is %+v, want %s, %q and %q", fault.name, fault.check, f, fault.state, fault.found, fault.fix)
	}
	for name, f := range healthy {
		if name == fault.check || shared(name) || doctor.Selected(name, fault.also) && fault.also != nil {
			continue
		}
		if got := found[name]; got.State != f.State {
			h.t.Errorf("%s: %s is %+v, was %+v", fault.name, name, got, f)
		}
	}
	for name, f := range found {
		if f.State == doctor.Fault && name != fault.check && (fault.also == nil || !doctor.Selected(name, fault.also)) {
			h.t.Errorf("%s: %s is a fault too: %+v", fault.name, name, f)
		}
	}
}

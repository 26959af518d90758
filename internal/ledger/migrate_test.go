package ledger_test

import (
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

func TestManyProcessesMayMigrateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	for round := range 2 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := ledger.Open(t.Context(), ledger.Config{Pool: newPool(t, dsn)}); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
	}
	b := &bench{pool: newPool(t, dsn)}
	var rows, locks int
	b.scan(t, "SELECT count(*) FROM pgcourier.schema_version", &rows)
	b.scan(t, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", &locks)
	if rows != 1 || locks != 0 {
		t.Errorf("%d versions and %d locks held, want 1 and 0", rows, locks)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "UPDATE pgcourier.schema_version SET version = version + 1")
	if _, err := ledger.Open(t.Context(), ledger.Config{Pool: b.pool}); !errors.Is(err, ledger.ErrSchemaTooNew) {
		t.Errorf("%v, want schema too new", err)
	}
}

func TestALoginThatMayOnlyUseTheSchemaIsEnough(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	login := u.Path[1:] + "_worker" // roles are the cluster's: as unique as the database
	b.exec(t, `CREATE ROLE `+login+` LOGIN PASSWORD 'w'`)
	t.Cleanup(func() { execOn(t, b.url, `DROP OWNED BY `+login+`; DROP ROLE `+login) })
	b.exec(t, `REVOKE CREATE ON SCHEMA public FROM public`)
	b.exec(t, `GRANT USAGE ON SCHEMA pgcourier TO `+login)
	b.exec(t, `GRANT SELECT ON pgcourier.schema_version TO `+login)
	b.exec(t, `GRANT SELECT, INSERT, UPDATE ON pgcourier.requests, pgcourier.attempts TO `+login)
	b.exec(t, `GRANT SELECT, INSERT, DELETE ON pgcourier.storage_notes TO `+login)
	b.exec(t, `GRANT SELECT, INSERT ON pgcourier.storages TO `+login)
	u.User = url.UserPassword(login, "w")
	pool := newPool(t, u.String())
	l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	w := &bench{l, pool, u.String()}
	r := request("r1", `{}`)
	w.granted(t, claimOf(r, 1))
	w.expire(t)
	tok := w.granted(t, claimOf(r, 2))
	left, err := w.Collectable(t.Context(), 1)
	_, listErr := w.List(t.Context(), ledger.Filter{})
	refused := request("r2", `{}`)
	refused.Refusal = &export.Fault{Code: codes.InvalidRequest}
	_, lostErr := w.FailUnclaimed(t.Context(), refused, delivery.Delivery{}, 0)
	for _, err := range []error{
		err, listErr, lostErr, w.Ping(t.Context()), w.Renew(t.Context(), tok), w.Collected(t.Context(), left),
		w.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}), w.MarkPublished(t.Context(), r.ID),
		w.Note(t.Context(), "telegram:1", "acme/r1", "ref"), w.ForgetNotes(t.Context(), "telegram:1", "acme/r1"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestALoginWithoutTheRightToMakeTheSchemaGetsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(newDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	login := u.Path[1:] + "_poor"
	execOn(t, u.String(), `CREATE ROLE `+login+` LOGIN PASSWORD 'w'`)
	admin := u.String()
	t.Cleanup(func() { execOn(t, admin, `DROP ROLE `+login) })
	u.User = url.UserPassword(login, "w")
	_, err = ledger.Open(t.Context(), ledger.Config{Pool: newPool(t, u.String())})
	if err == nil || errors.Is(err, export.ErrUnavailable) {
		t.Errorf("%v, want a plain refusal", err)
	}
}

func TestOpenRefusesAMeaninglessConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]ledger.Config{
		"no pool":        {},
		"negative lease": {Pool: newPool(t, cluster.URL("postgres")), Lease: -1},
	} {
		if _, err := ledger.Open(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// docs/upgrade.md says that an old worker continues under a newer schema. Its statements must stay
// valid, so a migration may only add, and may not require more.
func TestMigrationsOnlyAdd(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) < 7 {
		t.Fatalf("migrations %q: %v", files, err)
	}
	adds := regexp.MustCompile(`^(CREATE TABLE|CREATE (UNIQUE )?INDEX|COMMENT ON|INSERT INTO|ALTER TABLE pgcourier\.\w+ ADD COLUMN)\b`)
	fills := regexp.MustCompile(`^UPDATE (pgcourier\.\w+) SET (\w+) = NULL WHERE`)
	made := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		up, _, _ := strings.Cut(string(b), "---- create above / drop below ----")
		up = regexp.MustCompile(`'[^']*'`).ReplaceAllString(up, "''") // a comment may hold a semicolon
		here := map[string]bool{}
		for statement := range strings.SplitSeq(up, ";") {
			statement = strings.TrimSpace(statement)
			table := regexp.MustCompile(`(?:CREATE TABLE|INSERT INTO|ALTER TABLE|ON) (pgcourier\.\w+)`).FindStringSubmatch(statement)
			switch {
			case statement == "":
			case fills.MatchString(statement):
				if m := fills.FindStringSubmatch(statement); !regexp.MustCompile(`ALTER TABLE ` + regexp.QuoteMeta(m[1]) + ` ADD COLUMN ` + m[2] + ` `).MatchString(up) {
					t.Errorf("%s changes a column that older releases know: %s", file, statement)
				}
			case !adds.MatchString(statement):
				t.Errorf("%s does more than add: %s", file, statement)
			case strings.HasPrefix(statement, "CREATE TABLE"):
				here[table[1]] = true
			case strings.HasPrefix(statement, "INSERT"), strings.HasPrefix(statement, "CREATE UNIQUE"):
				if !here[table[1]] {
					t.Errorf("%s changes what an older release fills: %s", file, statement)
				}
			case strings.HasPrefix(statement, "ALTER") && (!made[table[1]] || regexp.MustCompile(`NOT NULL|UNIQUE|CHECK|REFERENCES|DROP|ALTER COLUMN|ADD CONSTRAINT`).MatchString(statement)):
				t.Errorf("%s asks for what an older release does not give: %s", file, statement)
			}
		}
		maps.Copy(made, here)
	}
}

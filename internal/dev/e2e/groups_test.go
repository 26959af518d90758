package e2e_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
)

// restrictions are pg_dump's restrict commands, with a random token.
var restrictions = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

// Small projects that wait at the same time are dumped together. Each gets the same export as
// alone, and a fault of one does not affect the others.
func TestSmallProjectsThatWaitAreDumpedTogether(t *testing.T) {
	t.Parallel()
	p := setup(t)
	const small = 20
	var ids []string
	for i := range small {
		ids = append(ids, fmt.Sprintf("small%02d", i))
	}
	p.tenants(append(ids, "other", "gone")...)
	owner := "owner_of_" + p.database
	p.exec(fmt.Sprintf("CREATE ROLE %[1]s; GRANT USAGE ON SCHEMA tenant_other TO %[1]s; GRANT SELECT ON tenant_other.t TO %[1]s", owner))
	t.Cleanup(func() { p.exec("DROP OWNED BY " + owner + "; DROP ROLE " + owner) })
	p.exec("DROP SCHEMA tenant_gone CASCADE")
	query := "PROJECT_QUERY=SELECT id, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas, " +
		"CASE WHEN id = 'other' THEN '" + owner + "' END AS role FROM control_plane.projects WHERE id = $1"
	fakes := fakePgDump(t, `exec "$real" "$@"`)
	// The pg_restore beside the pg_dump makes scripts of the shared archive.
	faketool.Install(t, filepath.Join(fakes, "pg_restore"), "#!/bin/sh\nexec "+cluster.BinDir+"/pg_restore \"$@\"\n")
	begin := func(group int) *worker {
		return p.start(query, "CONCURRENCY=1", "PG_BIN_DIR="+fakes, fmt.Sprintf("GROUP_MAX=%d", group))
	}
	w := begin(1)
	p.request(events.Requested{ProjectID: "globex", RequestID: "first"})
	p.completed("globex", "first")
	w.term()
	w.await()

	format := func(i int) events.Format { return []events.Format{"sql", "sql", "sql", "custom", "tar"}[i%5] }
	ask := func(id string) {
		for i, project := range ids {
			p.request(events.Requested{ProjectID: project, RequestID: id, Format: format(i), Compression: events.CompressionNone})
		}
		for _, project := range []string{"other", "gone"} {
			p.request(events.Requested{ProjectID: project, RequestID: id, Compression: events.CompressionNone})
		}
	}
	before := len(executed(t, fakes))
	ask("together")
	w = begin(100)
	together := map[string]*events.Completed{}
	for _, project := range append(ids, "other") {
		c := p.completed(project, "together")
		if c.Attempt != 1 {
			t.Errorf("%s: attempt %d", project, c.Attempt)
		}
		p.checkWhole(c)
		together[project] = c
	}
	p.failed("gone", "together", codes.SchemaNotFound, 1)
	runs := executed(t, fakes)[before:]
	// Tar archives and the other role are dumped alone. The others wait together for a part of the time, which
	// depends on the speed of the machine.
	const alone = small/5 + 1
	if len(runs) > alone+(small+1-alone)/2 {
		t.Errorf("pg_dump ran %d times for %d exports", len(runs), small+1)
	}
	for _, args := range runs {
		if strings.Contains(args, "tenant_other") && strings.Contains(args, "tenant_small") {
			t.Errorf("a project with a role of its own was dumped with others: %s", args)
		}
	}
	w.term()
	w.await()

	ask("alone")
	begin(1)
	for i, project := range append(ids, "other") {
		c := p.completed(project, "alone")
		if c.Rows != together[project].Rows || c.Tables != together[project].Tables {
			t.Errorf("%s: %d rows alone, %d together", project, c.Rows, together[project].Rows)
		}
		if c.Format != events.FormatSQL {
			continue
		}
		plain := func(c *events.Completed) string {
			return restrictions.ReplaceAllString(string(p.checkStored(c, nil)), "")
		}
		if a, b := plain(c), plain(together[project]); a != b {
			t.Errorf("%s (%d): its dump from the group differs from the one it has alone:\n%s\n---\n%s", project, i, b, a)
		}
	}
	p.failed("gone", "alone", codes.SchemaNotFound, 1)
	p.settled()
	if i := p.consumer(events.StreamRequests, events.ConsumerExport); i.NumRedelivered > 0 {
		t.Errorf("%d messages are delivered again", i.NumRedelivered)
	}
}

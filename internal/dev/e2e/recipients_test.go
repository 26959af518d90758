package e2e_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
)

// Members of one dump keep their own recipients, and their own levels of compression.
func TestMembersOfAGroupKeepTheirOwnRecipients(t *testing.T) {
	t.Parallel()
	p := setup(t)
	const small = 6
	var ids []string
	for i := range small {
		ids = append(ids, fmt.Sprintf("small%02d", i))
	}
	p.tenants(ids...)
	newIdentity := func() *age.X25519Identity {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ofRow, ofRequest, operator := newIdentity(), newIdentity(), newIdentity()
	query := "PROJECT_QUERY=SELECT id, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas, " +
		"CASE WHEN id = 'small01' THEN ARRAY['" + ofRow.Recipient().String() + "'] END AS recipients, " +
		"CASE WHEN id IN ('small01', 'small02') THEN 'best' END AS compression_level FROM control_plane.projects WHERE id = $1"
	fakes := fakePgDump(t, `exec "$real" "$@"`)
	faketool.Install(t, filepath.Join(fakes, "pg_restore"), "#!/bin/sh\nexec "+cluster.BinDir+"/pg_restore \"$@\"\n")
	recipients := func(project string) []string {
		if project == "small02" {
			return []string{ofRequest.Recipient().String()}
		}
		return nil
	}
	for _, project := range ids {
		r := events.Requested{ProjectID: project, RequestID: "r", Recipients: recipients(project)}
		if project == "small02" {
			r.CompressionLevel = events.CompressionDefault
		}
		p.request(r)
	}
	w := p.start(query, "COMPRESSION_LEVEL=fast", "CONCURRENCY=1", "PG_BIN_DIR="+fakes, "GROUP_MAX=100")
	owner := map[string]age.Identity{"small01": ofRow, "small02": ofRequest}
	for _, project := range ids {
		c := p.completed(project, "r")
		id, encrypted := owner[project]
		want := events.EncryptionNone
		if encrypted {
			want = events.EncryptionAge
		}
		if c.Encryption != want || (len(c.Recipients) == 1) != encrypted {
			t.Errorf("%s: encryption %s, recipients %v", project, c.Encryption, c.Recipients)
			continue
		}
		level := events.CompressionFast // the worker's
		switch project {
		case "small01":
			level = events.CompressionBest // the project's
		case "small02":
			level = events.CompressionDefault // the request's
		}
		if c.CompressionLevel != level {
			t.Errorf("%s: level %q, want %q", project, c.CompressionLevel, level)
		}
		p.checkStored(c, id)
	}
	if runs := executed(t, fakes); len(runs) >= small {
		t.Errorf("pg_dump ran %d times for %d exports", len(runs), small)
	}
	// The same id with other recipients is another request.
	p.request(events.Requested{ProjectID: "small02", RequestID: "r", Recipients: []string{operator.Recipient().String()}})
	p.settled()
	w.term()
	w.await()

	p.start(query, "AGE_RECIPIENTS="+operator.Recipient().String(), "RECIPIENTS_REQUIRED=operator")
	p.request(events.Requested{ProjectID: "small01", RequestID: "all", Recipients: []string{ofRequest.Recipient().String()}})
	c := p.completed("small01", "all")
	if len(c.Recipients) != 3 {
		t.Errorf("recipients %v", c.Recipients)
	}
	for _, id := range []age.Identity{operator, ofRow, ofRequest} {
		p.checkStored(c, id)
	}
	p.request(events.Requested{ProjectID: "small01", RequestID: "bad", Recipients: []string{"age1qqqq"}})
	p.failed("small01", "bad", codes.InvalidRequest, 1)
}

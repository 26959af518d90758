package term

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

// RestoreText describes the outcome of a restore in lines.
func RestoreText(e events.Event) string {
	if f := e.RestoreFailed; f != nil {
		return fmt.Sprintf("failed: restore %s into %s: %s: %s\n", Sanitize(f.RestoreID), Sanitize(f.ProjectID), Sanitize(string(f.Code)), Sanitize(f.Message))
	}
	c := e.RestoreCompleted
	if c == nil {
		return ""
	}
	var b strings.Builder
	done := "restored"
	if c.Plan {
		done = "would restore"
	}
	fmt.Fprintf(&b, "%s %s/%s into %s: schema %s, %d rows in %d tables (PostgreSQL %s)\n", done, Sanitize(c.From.ProjectID), Sanitize(c.From.RequestID),
		Sanitize(c.ProjectID), Sanitize(strings.Join(c.Schemas, ", ")), c.Rows, c.Tables, Sanitize(c.ServerVersion))
	for _, k := range c.Kept {
		fmt.Fprintf(&b, "kept: schema %s holds what was replaced, until %s\n", Sanitize(k.Schema), k.Until.UTC().Format(time.DateTime+"Z"))
	}
	for _, r := range c.Remarks {
		fmt.Fprintf(&b, "remark: %s\n", Sanitize(r))
	}
	return b.String()
}

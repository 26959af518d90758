package project

import (
	"context"
	"fmt"
)

// Retention returns the retention rules of a project's row, "" when it names none or the
// query has no such column. known is false when there is not exactly one row of that id;
// whether the project is active has no part in it. ErrLedgerUnavailable as in Lookup.
func (p *Projects) Retention(ctx context.Context, id string) (rules string, known bool, err error) {
	rows, _, err := p.of.ask(ctx, id)
	if err != nil {
		return "", false, fmt.Errorf("look up the retention of project %q: %w", id, err)
	}
	if len(rows) != 1 || str(rows[0].ID) != id {
		return "", false, nil
	}
	return str(rows[0].Retention), true, nil
}

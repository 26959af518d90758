package doctor

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

func TestAMistypedRequestNamesNoProject(t *testing.T) {
	t.Parallel()
	of := func(project string, code codes.Code, refused bool) ledger.Entry {
		return ledger.Entry{ID: export.ID{Project: project, Request: "r"}, Code: code, Refused: refused}
	}
	got := projectsOf([]ledger.Entry{
		of("acmee", codes.ProjectNotFound, false),
		of("gone", codes.ProjectNotFound, false),
		of("refused", codes.InvalidRequest, true),
		of("locked", codes.LockTimeout, false),
		of("acme", "", false),
		of("gone", "", false), // it was found once
		of("acme", "", false),
	})
	if want := []string{"locked", "acme", "gone"}; !slices.Equal(got, want) {
		t.Errorf("the projects are %q, want %q", got, want)
	}
}

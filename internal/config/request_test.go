package config_test

import (
	"errors"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
)

func TestARequestIsNamedWithItsProject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		arg, project     string // as given
		wantID, wantProj string // empty: refused
	}{
		{"nightly", "", "nightly", ""},
		{"nightly", "acme", "nightly", "acme"},
		{"acme/nightly", "", "nightly", "acme"},
		{"acme/nightly", "acme", "nightly", "acme"},
		{"acme/nightly", "other", "", ""},
	} {
		project := c.project
		id, err := config.SplitRequest(c.arg, &project)
		if refused := c.wantID == ""; refused {
			if _, ok := errors.AsType[*config.Error](err); !ok {
				t.Errorf("%s with --project %s: %v", c.arg, c.project, err)
			}
			continue
		}
		if err != nil || id != c.wantID || project != c.wantProj {
			t.Errorf("%s with --project %s is %q of %q (%v)", c.arg, c.project, id, project, err)
		}
	}
}

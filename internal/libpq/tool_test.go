package libpq_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

func TestAToolThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "psql")
	faketool.Install(t, file, "#!/bin/sh\nexec sleep 1000\n")
	found, err := libpq.DiscoverWithin("psql", []string{filepath.Dir(file)}, 10*time.Millisecond)
	if len(found) != 0 || !errors.Is(err, libpq.ErrNoAnswer) || !strings.Contains(err.Error(), file+" --version: no answer in 10ms") {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestABrokenToolIsNamedBesideTheOthers(t *testing.T) {
	t.Parallel()
	broken, wrapped := filepath.Join(t.TempDir(), "psql"), t.TempDir()
	faketool.Install(t, broken, "#!/bin/sh\nexit 127\n")
	faketool.Install(t, filepath.Join(wrapped, "pg_wrapper"), "#!/bin/sh\nexit 1\n")
	if err := os.Symlink("pg_wrapper", filepath.Join(wrapped, "psql")); err != nil {
		t.Fatal(err)
	}
	other := pretend(t, "pg_dump", "18.1")
	if err := os.Rename(filepath.Join(other, "pg_dump"), filepath.Join(other, "psql")); err != nil {
		t.Fatal(err)
	}
	dirs := []string{filepath.Dir(broken), pretend(t, "psql", "17.2"), wrapped, t.TempDir(), other, pretend(t, "psql", "15.18")}
	found, err := libpq.Discover("psql", dirs)
	if len(found) != 2 || found[0].Text != "15.18" || found[1].Text != "17.2" {
		t.Errorf("found %v", found)
	}
	if err == nil || errors.Is(err, libpq.ErrNoAnswer) || !strings.Contains(err.Error(), broken) || !strings.Contains(err.Error(), other) ||
		strings.Contains(err.Error(), wrapped) {
		t.Errorf("left out: %v", err)
	}
}

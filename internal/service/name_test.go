package service_test

import (
	"regexp"
	"testing"

	"github.com/pgcourier/pgcourier/internal/service"
)

// Two starts with the same host name and process id, as of a restarted container, have different
// names.
func TestEachStartHasANameOfItsOwn(t *testing.T) {
	t.Parallel()
	first, err := service.ProcessName()
	if err != nil {
		t.Fatal(err)
	}
	second, err := service.ProcessName()
	if err != nil || first == second {
		t.Errorf("names are %q and %q, %v", first, second, err)
	}
	if !regexp.MustCompile(`^[^/]+/\d+-[a-z2-7]{6}$`).MatchString(first) {
		t.Errorf("name is %q", first)
	}
}

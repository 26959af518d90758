package restore

import (
	"errors"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

func installed(releases ...[2]int) []libpq.Version {
	out := make([]libpq.Version, len(releases))
	for i, r := range releases {
		out[i] = libpq.Version{Major: r[0], Minor: r[1]}
	}
	return out
}

func TestTheNewestKnownPsqlIsChosen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		installed  []libpq.Version // as Discover sorts them
		restricted bool
		want       [2]int // {}: refused
	}{
		"the newest major":                       {installed([2]int{15, 19}, [2]int{17, 11}), false, [2]int{17, 11}},
		"the newest minor":                       {installed([2]int{17, 11}, [2]int{17, 5}), true, [2]int{17, 11}},
		"not newer than any known":               {installed([2]int{17, 11}, [2]int{99, 1}), true, [2]int{17, 11}},
		"newer than any known, where it must be": {installed([2]int{17, 5}, [2]int{99, 1}), true, [2]int{99, 1}},
		"older, where the newest is too old":     {installed([2]int{15, 19}, [2]int{17, 5}), true, [2]int{15, 19}},
		"too old, where nothing is restricted":   {installed([2]int{17, 5}), false, [2]int{17, 5}},
		"too old":                                {installed([2]int{17, 5}), true, [2]int{}},
		"none":                                   {nil, false, [2]int{}},
	} {
		got, err := choosePsql(c.installed, c.restricted)
		if refused := c.want == [2]int{}; refused != errors.Is(err, ErrTool) || !refused && [2]int{got.Major, got.Minor} != c.want {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, c.want)
		}
	}
}

func TestTheOldestPgRestoreThatIsNewEnoughIsChosen(t *testing.T) {
	t.Parallel()
	tools := installed([2]int{15, 19}, [2]int{17, 11}, [2]int{99, 1})
	for wrote, want := range map[string]int{"14.24": 15, "15.18": 15, "16.3": 17, "18beta1": 99, "100.0": 0} {
		got, err := chooseRestore(tools, export.Artifact{PgDumpVersion: wrote})
		if got.Major != want || (want == 0) != errors.Is(err, ErrTool) {
			t.Errorf("an archive of pg_dump %s: %+v, %v; want major %d", wrote, got, err, want)
		}
	}
}

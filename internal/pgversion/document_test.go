package pgversion_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// features are all features, with words of their row in the document.
var features = map[pgversion.Feature]string{
	pgversion.JIT:                "the setting `jit`",
	pgversion.Generated:          "generated columns",
	pgversion.DropForce:          "`DROP DATABASE ... WITH (FORCE)`",
	pgversion.ClientCheck:        "`client_connection_check_interval`",
	pgversion.GrantInherit:       "`INHERIT`",
	pgversion.TransactionTimeout: "the setting `transaction_timeout`",
	pgversion.NoComments:         "`--no-comments`",
	pgversion.PlainOnStdout:      "`libstdbuf.so`",
}

// span is the first and the last major version with the feature, as the document writes them;
// empty where that is the oldest or the newest.
func span(f pgversion.Feature) (from, until string) {
	for major := pgversion.Oldest; major <= pgversion.Newest; major++ {
		switch has, had := pgversion.Has(major, f), pgversion.Has(major-1, f); {
		case has && !had && major > pgversion.Oldest:
			from = strconv.Itoa(major)
		case had && !has:
			until = strconv.Itoa(major - 1)
		}
	}
	return from, until
}

func TestTheVersionsAreDocumented(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/postgresql-versions.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "| ") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	has := func(words, end string) bool {
		for _, row := range rows {
			if strings.Contains(row, words) && strings.HasSuffix(row, end) {
				return true
			}
		}
		return false
	}
	for f, words := range features {
		from, until := span(f)
		cell := func(text string) string { return strings.TrimRight(" "+text, " ") + " |" }
		end := "|" + cell(from) + cell(until)
		if !has(words, end) {
			t.Errorf("no row says %s with %q", words, end)
		}
	}
	for minor := pgversion.OldestArchive; minor <= pgversion.NewestArchive; minor++ {
		a, ok := pgversion.ArchiveOf(minor)
		since := strconv.Itoa(a.Since)
		if a.Since == 9 {
			since = "9.0"
		}
		if row := fmt.Sprintf("| 1.%d | %s and later |", minor, since); !ok || !has(row, "|") {
			t.Errorf("no row begins %q", row)
		}
	}
	for _, text := range []string{
		"from these releases on: " + pgversion.RestrictReleases() + ".",
		fmt.Sprintf("The newest version that is known is PostgreSQL %d, with archives of format 1.%d.", pgversion.Newest, pgversion.NewestArchive),
		fmt.Sprintf("may run PostgreSQL %d or later", pgversion.Oldest),
	} {
		if !strings.Contains(string(b), text) {
			t.Errorf("it does not say %q", text)
		}
	}
}

package roundtrip_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// What a cell of the table says.
const (
	equal  = "equal"
	failed = "FAILED"
	// refused: pgcourier says so before anything is changed.
	refused = "refused"
	// without: the server takes the script only without a setting that it does not know.
	without = "equal without the setting"
)

// columns are the formats, as pgcourier restores them in one transaction into the server that
// they come from, and what else is tried with them. "to the newest" is the newest server.
var columns = []string{"sql", "custom", "tar", "directory", "in a group", "to the newest", "--jobs", "by hand"}

// table is what was tried and how it ended.
type table []*row

type row struct {
	pair
	cells map[string]string
}

// set notes a result. A failure stays.
func (r *row) set(column, result string) {
	if r.cells[column] != failed {
		r.cells[column] = result
	}
}

// String is the table as Markdown, aligned for a terminal.
func (t table) String() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 1, ' ', 0)
	line := func(cells []string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	header := append([]string{"server", "client"}, columns...)
	line(header)
	line(slices.Repeat([]string{"---"}, len(header)))
	for _, r := range t {
		cells := []string{r.server.Text, r.client.Text}
		for _, c := range columns {
			if r.cells[c] == "" {
				r.cells[c] = failed // it did not come to it
			}
			cells = append(cells, r.cells[c])
		}
		line(cells)
	}
	_ = w.Flush() // a Builder takes all
	return out.String()
}

func (t table) save(file string) error {
	return os.WriteFile(file, []byte(t.String()), 0o644)
}

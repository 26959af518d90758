package term_test

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/term"
)

func Example() {
	screen := term.Screen{Width: 40} // of standard output: term.Open(os.Stdout, os.Environ())
	table := term.Table{Columns: []term.Column{{Title: "REQUEST", ID: true}, {Title: "STATE"}, {Title: "CAUSE"}}}
	table.Add("nightly-2026-11-23", "failed", "storage_unavailable")
	fmt.Print(table.Text(screen))
	// Output:
	// REQUEST             STATE   CAUSE
	// nightly-2026-11-23  failed  storage_una…
}

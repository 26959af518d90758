package archive

import (
	"sync/atomic"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// maxName bounds one identifier. PostgreSQL's own bound is NAMEDATALEN, which is 64 by default.
	maxName = 1024
	// maxNames bounds the memory for the names of all tables of a dump, so that a hostile dump cannot
	// exhaust the process. It is enough for about 200,000 tables.
	maxNames = 64 << 20
	// nameCost is the approximate memory of one table besides its name: map entries and strings.
	nameCost = 256
)

const (
	faultManyTables fault = "more tables than memory is set aside for"
	faultTwice      fault = "a table's data appears twice"
)

// tally counts the rows of each table while a scanner runs. Only current is safe for concurrent
// use.
type tally struct {
	rows    map[export.Table]int64
	cost    int
	table   export.Table
	current atomic.Pointer[export.Table]
}

func newTally() *tally { return &tally{rows: make(map[export.Table]int64)} }

// begin opens a table's data section.
func (t *tally) begin(name export.Table) error {
	if _, ok := t.rows[name]; ok {
		return faultTwice
	}
	t.cost += len(name.Schema) + len(name.Name) + nameCost
	if t.cost > maxNames {
		return faultManyTables
	}
	t.table = name
	t.rows[name] = 0
	t.current.Store(&name)
	return nil
}

// end closes the section that was opened last.
func (t *tally) end(rows int64) {
	t.rows[t.table] = rows
	t.current.Store(nil)
}

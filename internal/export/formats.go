package export

// Format is the kind of archive that pg_dump writes. The names are the contract's, in requests,
// manifests and the ledger. The adapters know the bytes of each format.
type Format string

// The formats of the contract: a plain script, pg_dump's tar and custom archives, and a tar
// of its directory archive.
const (
	SQL       Format = "sql"
	Tar       Format = "tar"
	Custom    Format = "custom"
	Directory Format = "directory"
)

// Extension returns the end of a dump's file name, for instance ".sql".
func (f Format) Extension() string {
	return map[Format]string{SQL: ".sql", Tar: ".tar", Custom: ".dump", Directory: ".dir.tar"}[f]
}

// Table names one table of the source as the server knows it, unquoted.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

// String returns "schema.name", for people; "" for no table.
func (t Table) String() string {
	if t == (Table{}) {
		return ""
	}
	return t.Schema + "." + t.Name
}

// Contents describes the data of a complete dump.
type Contents struct {
	// Tables maps each table with a data section to its number of rows. A partition that pg_dump loads
	// through its root counts under its own name.
	Tables map[Table]int64
}

// Rows returns the sum over all tables.
func (c Contents) Rows() int64 {
	var n int64
	for _, rows := range c.Tables {
		n += rows
	}
	return n
}

package seal

// Format is the kind of archive pg_dump writes.
type Format string

// The formats of the contract: a plain script, pg_dump's tar and custom archives, and a tar
// of its directory archive.
const (
	SQL       Format = "sql"
	Tar       Format = "tar"
	Custom    Format = "custom"
	Directory Format = "directory"
)

// Compression is what is applied to the dump before it is encrypted and hashed.
type Compression string

// The compressions of the contract.
const (
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	Plain Compression = "none"
)

// Encryption is how the compressed bytes are protected.
type Encryption string

// The encryptions of the contract.
const (
	Unencrypted Encryption = "none"
	Age         Encryption = "age"
)

// Table names one table of the source as the server knows it, unquoted.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

// Extension is the file name's end for an artifact, for instance ".sql.gz.age".
func Extension(f Format, c Compression, e Encryption) string {
	ext := map[Format]string{SQL: ".sql", Tar: ".tar", Custom: ".dump", Directory: ".dir.tar"}[f]
	ext += map[Compression]string{Gzip: ".gz", Zstd: ".zst", Plain: ""}[c]
	if e == Age {
		ext += ".age"
	}
	return ext
}

// String is "schema.name", for humans; "" for no table.
func (t Table) String() string {
	if t == (Table{}) {
		return ""
	}
	return t.Schema + "." + t.Name
}

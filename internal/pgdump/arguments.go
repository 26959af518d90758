package pgdump

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// errName says that no object of a database can have this name.
var errName = errors.New("not a name PostgreSQL can have")

// nameLimit is PostgreSQL's bound for a name in bytes, NAMEDATALEN less one.
const nameLimit = 63

// checkName refuses what no object can be called. A longer name would be cut to another
// schema's by the server, a NUL would end the argument.
func checkName(name string) error {
	if name == "" || len(name) > nameLimit || strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name) {
		return fmt.Errorf("%q: %w", name, errName)
	}
	return nil
}

// selection is what one run of pg_dump is asked for.
type selection struct {
	schemas  []string
	role     string // empty: the login
	format   export.Format
	client   int // pg_dump's major version
	snapshot snapshot
	encoding string
	lockWait time.Duration

	folder string // of format directory: absolute, and empty
	jobs   int
}

// formats are pg_dump's names for ours.
var formats = map[export.Format]string{export.SQL: "plain", export.Tar: "tar", export.Custom: "custom", export.Directory: "directory"}

// snapshotID is what pg_export_snapshot answers, such as 00000003-0000001B-1.
var snapshotID = regexp.MustCompile(`^[0-9A-F]+(-[0-9A-F]+)*$`)

// arguments builds pg_dump's arguments: these and no others. Each is one word of the form
// --option or --option=value, so that no value can be taken for an option.
//
// The other options follow from the purpose of a schema dump of one project:
//   - owners, rights and tablespaces belong to the source server and not to the project;
//     with them the dump would not load where those roles and folders are missing;
//   - comments, security labels, table access methods and compression settings are part of
//     the project's definition and stay;
//   - publications, subscriptions, event triggers, extensions and large objects are never
//     part of a dump of chosen schemas (the preflight warns of those that are missed). Of
//     publications and subscriptions pg_dump reads all the same, unless it is told not to;
//   - comments and security labels it reads whole, initdb's 5,000 comments among them, which
//     takes a tenth of a small dump: it is told to leave out those that the snapshot has none of;
//   - row-level security stays off: pg_dump fails loudly rather than dump what a policy
//     lets through.
func arguments(s selection) ([]string, error) {
	format, ok := formats[s.format]
	if !ok {
		return nil, fmt.Errorf("unknown dump format %q", s.format)
	}
	if !snapshotID.MatchString(s.snapshot.id) {
		return nil, errors.New("the server's snapshot id has an unknown form")
	}
	if len(s.schemas) == 0 {
		return nil, errors.New("no schema to dump") // pg_dump would dump the whole database
	}
	args := []string{
		"--format=" + format,
		"--encoding=" + s.encoding,
		"--snapshot=" + s.snapshot.id,
		"--lock-wait-timeout=" + strconv.FormatInt(s.lockWait.Milliseconds(), 10),
		"--no-password", // fail, never ask
		"--no-owner",
		"--no-acl",
		"--no-tablespaces",
		"--strict-names", // each schema must exist; else a missing one is left out in silence
		"--no-publications",
		"--no-subscriptions",
	}
	if !s.snapshot.comments && pgversion.Has(s.client, pgversion.NoComments) {
		args = append(args, "--no-comments")
	}
	if !s.snapshot.labels {
		args = append(args, "--no-security-labels")
	}
	if s.format == export.Custom || s.format == export.Directory {
		args = append(args, "--compress=0") // compression is ours, and rows are counted in the stream
	}
	if s.format == export.Directory {
		// Nothing in the folder outlives the stream, so nothing needs to be on the disk.
		args = append(args, "--file="+s.folder, "--jobs="+strconv.Itoa(s.jobs), "--no-sync")
	}
	if s.role != "" {
		if err := checkName(s.role); err != nil {
			return nil, fmt.Errorf("role %w", err)
		}
		args = append(args, "--role="+s.role)
	}
	for _, name := range s.schemas {
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("schema %w", err)
		}
		args = append(args, "--schema="+quotePattern(name))
	}
	return args, nil
}

// quotePattern turns a name into a pattern that matches it alone: within double quotes
// nothing is a wildcard and case is kept.
func quotePattern(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

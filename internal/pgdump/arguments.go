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

// errName means that no object of a database can have this name.
var errName = errors.New("not a name PostgreSQL can have")

// nameLimit is PostgreSQL's limit of a name in bytes, NAMEDATALEN - 1.
const nameLimit = 63

// checkName refuses names that no object can have. The server would truncate a longer name, possibly to
// that of another schema, and a NUL would end the argument.
func checkName(name string) error {
	if name == "" || len(name) > nameLimit || strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name) {
		return fmt.Errorf("%q: %w", name, errName)
	}
	return nil
}

// selection holds what one run of pg_dump dumps.
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

// formats are pg_dump's names of the formats.
var formats = map[export.Format]string{export.SQL: "plain", export.Tar: "tar", export.Custom: "custom", export.Directory: "directory"}

// snapshotID matches a result of pg_export_snapshot, such as 00000003-0000001B-1.
var snapshotID = regexp.MustCompile(`^[0-9A-F]+(-[0-9A-F]+)*$`)

// arguments returns pg_dump's arguments. Each is one word of the form --option or --option=value, so
// that no value can be read as an option.
//
// The reasons for the options of a schema dump of one project:
//   - Owners, rights and tablespaces belong to the source server, not to the project. With them the
//     dump would not load on a server without those roles and folders.
//   - Comments, security labels, table access methods and compression settings are part of the
//     project's definition and stay.
//   - Publications, subscriptions, event triggers, extensions and large objects are never part of a
//     dump of chosen schemas; the preflight warns of missing ones. pg_dump reads publications and
//     subscriptions nevertheless, unless an option forbids it.
//   - pg_dump reads all comments and security labels, the 5,000 comments of initdb included, which
//     takes a tenth of the time of a small dump. If the snapshot has none of its own, an option leaves
//     them out. The labels of masking rules are not part of a masked dump.
//   - row_security stays off: pg_dump then fails and does not dump only the rows that a policy shows.
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
		"--no-password", // fail instead of a prompt
		"--no-owner",
		"--no-acl",
		"--no-tablespaces",
		"--strict-names", // without it, pg_dump ignores a missing schema
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
		args = append(args, "--compress=0") // the worker counts rows in the stream and compresses it
	}
	if s.format == export.Directory {
		// The folder is removed with the stream, so it needs no sync.
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

// quotePattern returns a pattern that matches only this name: within double quotes there are no
// wildcards, and case counts.
func quotePattern(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

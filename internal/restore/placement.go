package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// Mode says what a placement does with objects that the target holds already.
type Mode string

// The modes of a placement.
const (
	// Create restores into schemas that are missing or empty, or tables that are missing.
	Create Mode = "create"
	// Replace moves the schemas, or the chosen tables, aside into a kept schema, in the transaction
	// of the restore. What is missing is created.
	Replace Mode = "replace"
)

// Placement says where and how an export is placed into a project's schema.
type Placement struct {
	// ID identifies the restore. A restore with this ID commits at most once in a target.
	ID     string
	Source *libpq.Source // of the target database
	// Schema is the name of the schema in the target. Empty: the export's own. It must be empty if
	// several schemas are restored. Another name than the export's needs Config.Scratch.
	Schema string
	// Owner is the role that owns what is restored. The login must be a member of it. Empty: the owner of
	// what is replaced, or else the login.
	Owner string
	Mode  Mode
	// Schemas and Tables select a part of the export; empty: all of it. A table is name, schema.name, or
	// "schema"."name" with a double quote doubled, which is never ambiguous. It comes with its partitions,
	// indexes, constraints, triggers, policies and own sequences. Types and routines do not come with it.
	Schemas, Tables []string
	// Keep is how long Replace keeps what it moved aside. DropKept drops it later.
	Keep time.Duration
	// CreateExtensions creates the extensions that the export needs and the target lacks.
	CreateExtensions bool
	// LeaveOut continues without the objects that cannot come along. Without it they are a
	// *LeftOutError.
	LeaveOut bool
}

// Plan is what a placement would do. It is complete before anything is changed.
type Plan struct {
	ServerVersion string         `json:"server_version"`     // of the target
	Schemas       []string       `json:"schemas"`            // in the target, into which objects are restored
	Tables        []export.Table `json:"tables"`             // in the target
	Rows          int64          `json:"rows"`               // of the export, in these tables
	Aside         []string       `json:"aside,omitempty"`    // schemas or tables that are moved aside
	Missing       []string       `json:"missing,omitempty"`  // what the export needs and the target lacks
	LeftOut       []string       `json:"left_out,omitempty"` // what cannot come along
	// StillNames are the beginnings of statements that name the export's schema in a text, such as
	// the body of a function, after the restore into a schema of another name.
	StillNames []string `json:"still_names,omitempty"`
	Warnings   []string `json:"warnings,omitempty"` // of the export
}

// Placed is a committed placement.
type Placed struct {
	ID            string         `json:"id"`
	ServerVersion string         `json:"server_version"` // of the target
	Schemas       []string       `json:"schemas"`        // in the target
	Tables        []TableContent `json:"tables"`         // counted and hashed in the transaction
	Kept          []string       `json:"kept,omitempty"` // schemas that hold what was moved aside
	KeptUntil     time.Time      `json:"kept_until,omitzero"`
	LeftOut       []string       `json:"left_out,omitempty"`
	StillNames    []string       `json:"still_names,omitempty"`
	Remarks       []string       `json:"remarks,omitempty"` // for instance grants that could not be repeated
	PlacedAt      time.Time      `json:"placed_at"`         // by the target's clock

	// Evidence and Took are of the attempt that committed, if it was this one.
	Evidence Evidence      `json:"-"`
	Took     time.Duration `json:"-"` // of the feeding, COMMIT included
}

// Rows returns the sum over all tables.
func (p Placed) Rows() (n int64) {
	for _, t := range p.Tables {
		n += t.Rows
	}
	return n
}

// check returns an ErrPlacement for contradicting values.
func (p Placement) check(a export.Artifact) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrPlacement, fmt.Errorf(format, args...))
	}
	switch {
	case p.ID == "":
		return bad("it has no id")
	case p.Source == nil:
		return bad("it has no target")
	case p.Mode != Create && p.Mode != Replace:
		return bad("mode %q is neither %s nor %s", p.Mode, Create, Replace)
	case p.Mode == Replace && p.Keep <= 0:
		return bad("replace needs a time for which the old objects are kept")
	}
	for _, s := range p.Schemas {
		if !slices.Contains(a.Schemas, s) {
			return bad("the export does not hold schema %q", s)
		}
	}
	if p.Schema == "" {
		return nil
	}
	if n := len(p.chosenSchemas(a)); n != 1 {
		return bad("a schema of another name needs an export of one schema, this one has %d", n)
	}
	if len(p.Schema) > nameLimit || strings.IndexByte(p.Schema, 0) >= 0 || !utf8.ValidString(p.Schema) || strings.HasPrefix(p.Schema, "pg_") {
		return bad("%q cannot be the name of a schema", p.Schema)
	}
	return nil
}

// nameLimit is PostgreSQL's limit of a name in bytes, NAMEDATALEN - 1.
const nameLimit = 63

// chosenSchemas returns the export's schemas that are restored.
func (p Placement) chosenSchemas(a export.Artifact) []string {
	if len(p.Schemas) == 0 {
		return a.Schemas
	}
	return slices.DeleteFunc(slices.Clone(a.Schemas), func(s string) bool { return !slices.Contains(p.Schemas, s) })
}

// renames reports whether the schema has another name in the target.
func (p Placement) renames(a export.Artifact) bool {
	return p.Schema != "" && p.Schema != p.chosenSchemas(a)[0]
}

// targetSchemas returns the names of the schemas in the target.
func (p Placement) targetSchemas(a export.Artifact) []string {
	if p.Schema != "" {
		return []string{p.Schema}
	}
	return p.chosenSchemas(a)
}

// keptName returns the name for a schema that holds what was moved aside from one: the name, the time,
// and the ID. A name or ID that is too long is cut, the ID to its hash.
func (p Placement) keptName(schema string, at time.Time) string {
	id := p.ID
	if len(id) > 16 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		id = idHash(id)[:10]
	}
	tail := "_before_" + at.UTC().Format("20060102t150405") + "_" + id
	if most := nameLimit - len(tail); len(schema) > most {
		for schema = schema[:most]; !utf8.ValidString(schema); {
			schema = schema[:len(schema)-1]
		}
	}
	return schema + tail
}

func idHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// application returns the name of the placement's session in pg_stat_activity.
func (p Placement) application() string { return applicationOf(p.ID) }

func applicationOf(id string) string { return application + " " + idHash(id)[:16] }

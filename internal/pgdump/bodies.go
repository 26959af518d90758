package pgdump

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// bodies holds the names in the texts of functions. PostgreSQL records no dependencies of such a text:
// it is parsed when the function is called, which a restore does for an index or a materialized view.
type bodies struct {
	schemas    []string // that the dump does not contain
	extensions []int64  // oids of extensions with a function of a called name
}

var (
	// word matches a name in SQL, quoted or not.
	word = `"(?:[^"]|"")+"|[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_$\x{80}-\x{10ffff}]*`
	// qualified matches a name before a dot, called one before a parenthesis.
	qualified = regexp.MustCompile(`(` + word + `)\s*\.`)
	called    = regexp.MustCompile(`(` + word + `)\s*\(`)
)

// bodyLimit bounds how many characters of one function's text are read.
const bodyLimit = 100_000

// bodies searches the texts of the schemas' functions for names.
func (s *session) bodies(ctx context.Context, v *survey, own objects) (out bodies, err error) {
	rows, err := s.conn.Query(ctx, `
SELECT p.proname::text, left(p.prosrc, $3)
  FROM unnest($1::bigint[]::oid[], $2::bigint[]::oid[]) AS own (classid, objid)
  JOIN pg_proc p ON own.classid = 'pg_proc'::regclass AND p.oid = own.objid
  JOIN pg_language l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('c', 'internal')`, own.classes, own.oids, bodyLimit)
	if err != nil {
		return out, err
	}
	schemas, functions := map[string]bool{}, map[string]bool{}
	var ours []string
	var name, body string
	_, err = pgx.ForEachRow(rows, []any{&name, &body}, func() error {
		ours = append(ours, name)
		collect(schemas, qualified, body)
		collect(functions, called, body)
		return nil
	})
	if err != nil || len(schemas)+len(functions) == 0 {
		return out, err
	}
	for _, name := range ours {
		delete(functions, name)
	}
	rows, err = s.conn.Query(ctx, `
SELECT nspname::text FROM pg_namespace
 WHERE nspname = ANY ($1::text[]::name[]) AND oid <> ALL ($2::bigint[]::oid[]) AND nspname !~ '^pg_' AND nspname <> 'information_schema'
 ORDER BY 1`, slices.Collect(maps.Keys(schemas)), v.schemas)
	if err != nil {
		return out, err
	}
	if out.schemas, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return out, err
	}
	rows, err = s.conn.Query(ctx, `
SELECT DISTINCT d.refobjid::bigint
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
 WHERE p.proname = ANY ($1::text[]::name[])
   AND NOT EXISTS (SELECT FROM pg_proc b WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::regnamespace)`,
		slices.Collect(maps.Keys(functions)))
	if err != nil {
		return out, err
	}
	out.extensions, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	return out, err
}

// collect adds the names that a pattern finds in a text.
func collect(into map[string]bool, pattern *regexp.Regexp, text string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(m[1])
		if quoted, ok := strings.CutPrefix(m[1], `"`); ok {
			name = strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `""`, `"`)
		}
		if len(name) <= nameLimit {
			into[name] = true
		}
	}
}

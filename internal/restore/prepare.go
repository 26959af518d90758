package restore

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Prepare returns an SQL script for an administrator to run in the target before the restore. It
// creates what an export needs and does not contain, as far as the manifest names it: roles, and
// extensions in their schemas. Comments list what it cannot create: the objects of other schemas
// (their definitions are not part of a project's export), the providers of security labels, the
// encoding, and the casts. Existing objects do not change.
func Prepare(id string, a export.Artifact) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- What %s needs and does not hold.\n", oneLine(id))
	for _, role := range a.Needs.Roles {
		if !printable(role) {
			b.WriteString(unprintable)
			continue
		}
		b.WriteString(block(fmt.Sprintf(" BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '%s') THEN CREATE ROLE %s; END IF; END ",
			strings.ReplaceAll(role, "'", "''"), quoted(role))) + "\n")
	}
	made := map[string]bool{"pg_catalog": true}
	for _, e := range a.Needs.Extensions {
		if !printable(e.Name + e.Schema) {
			b.WriteString(unprintable)
			continue
		}
		if !made[e.Schema] {
			made[e.Schema] = true
			fmt.Fprintf(&b, "CREATE SCHEMA IF NOT EXISTS %s;\n", quoted(e.Schema))
		}
		fmt.Fprintf(&b, "CREATE EXTENSION IF NOT EXISTS %s WITH SCHEMA %s;\n", quoted(e.Name), quoted(e.Schema))
	}
	comments := func(text string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "-- %s:\n", text)
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "--   %s\n", oneLine(line))
		}
	}
	comments("Of other schemas, to be made by hand or restored from their own project's export",
		slices.Concat(a.Needs.Parents, a.Needs.Objects))
	comments("Providers of security labels, which the server must load (shared_preload_libraries)", a.Needs.Labels)
	casts := make([]string, len(a.Needs.Casts))
	for i, c := range a.Needs.Casts {
		casts[i] = c.String() + ";"
	}
	comments("Casts, which the restore makes once their types are there, as far as its login may", casts)
	if a.Needs.Encoding != "" {
		comments("The encoding that the database must have, if not all of the export is of its own",
			[]string{"CREATE DATABASE ... TEMPLATE template0 ENCODING " + a.Needs.Encoding + " LC_COLLATE 'C' LC_CTYPE 'C';"})
	}
	for _, w := range a.Warnings {
		fmt.Fprintf(&b, "-- Warning: %s\n", oneLine(w))
	}
	return b.String()
}

// unprintable replaces a role or an extension with a name that could attack a terminal.
const unprintable = "-- Left out: a name with characters that cannot be printed.\n"

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// oneLine makes a text safe to print, on one line of a comment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(strings.Fields(s), " "))
}

package restore

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// trial is a rehearsal that continues after statements that its login may not run, or that need what
// the scratch server lacks: such a failure is not one of the export. A superuser runs only those
// statements of an export that create operator classes and families, which evaluate nothing.
type trial struct {
	admin *libpq.Session // of a superuser, in the same database; nil: none
	login string         // of the rehearsal
	// lacks: the export needs something that the database does not have.
	lacks     bool
	unchecked []string              // beginnings of statements, and why; tables
	unfilled  map[export.Table]bool // tables without their COPY
	uncounted []export.Table
}

// Why a statement could not be checked.
const (
	needsSuperuser = "needs a superuser"
	needsOthers    = "needs what this server does not have"
	needsUnchecked = "needs what could not be made here"
)

// settle reports whether the refusal of a statement is not a fault of the export. If so, it has run
// the statement in another way or recorded it as unchecked.
func (s *steps) settle(ctx context.Context, statement string, copies bool, refusal error) bool {
	t, state := s.feed.target.trial, sqlState(refusal)
	var why string
	switch {
	case state == insufficientPrivilege:
		if s.asAdmin(ctx, statement) {
			return true
		}
		why = needsSuperuser
	case strings.HasPrefix(bare(statement), "SECURITY LABEL "):
		why = needsOthers
	case !strings.HasPrefix(state, "42") && state != invalidSchemaName || state == syntaxError:
		return false
	case len(t.unchecked) > 0:
		why = needsUnchecked
	case t.lacks || strings.HasPrefix(bare(statement), "CREATE POLICY "): // manifests of old exports name no roles
		why = needsOthers
	default:
		return false
	}
	t.unchecked = append(t.unchecked, headline(statement)+": "+why)
	if copies {
		if table, ok := copied(statement); ok {
			t.unfilled[table] = true
		}
	}
	return true
}

// SQLSTATEs of PostgreSQL.
const (
	insufficientPrivilege = "42501"
	syntaxError           = "42601"
	invalidSchemaName     = "3F000"
)

// copying matches pg_dump's COPY of a table.
var copying = regexp.MustCompile(`^COPY (` + nameForm + `)\.(` + nameForm + `) `)

// nameForm matches a name as pg_dump writes it.
const nameForm = `"(?:[^"]|"")+"|[^". ]+`

func copied(statement string) (t export.Table, ok bool) {
	m := copying.FindStringSubmatch(bare(statement))
	if m == nil {
		return t, false
	}
	return export.Table{Schema: unquoted(m[1]), Name: unquoted(m[2])}, true
}

func unquoted(name string) string {
	if inner, ok := strings.CutPrefix(name, `"`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return name
}

// leakproof matches the LEAKPROOF of a function as pg_dump writes it.
var leakproof = regexp.MustCompile(`(?m)^(    LANGUAGE [^\n]*?) LEAKPROOF\b`)

// asAdmin creates an object that only a superuser may create, if that is harmless, and reports whether
// it did. The login creates a function, without LEAKPROOF, because even the defaults of its arguments
// may execute code of the export; the superuser then only sets LEAKPROOF.
func (s *steps) asAdmin(ctx context.Context, statement string) bool {
	t := s.feed.target.trial
	if t.admin == nil {
		return false
	}
	text := bare(statement)
	switch {
	case strings.HasPrefix(text, "CREATE FUNCTION "):
		without := leakproof.ReplaceAllString(text, "$1")
		if without == text {
			return false
		}
		if _, err := s.conn.Exec(ctx, without).ReadAll(); err != nil {
			return false
		}
		_, err := t.admin.Conn.Exec(ctx, "DO "+literal(fmt.Sprintf(leakproofSQL, literal(t.login))))
		return err == nil
	case strings.HasPrefix(text, "CREATE OPERATOR CLASS "), strings.HasPrefix(text, "CREATE OPERATOR FAMILY "):
		return t.operators(ctx, text) == nil
	}
	return false
}

// leakproofSQL is the body of a block that sets LEAKPROOF on the newest function of the login.
const leakproofSQL = `
BEGIN
  EXECUTE (SELECT pg_catalog.format('ALTER ROUTINE %%s LEAKPROOF', oid::regprocedure)
             FROM pg_catalog.pg_proc WHERE proowner = pg_catalog.to_regrole(%s) ORDER BY oid DESC LIMIT 1);
END`

// ownSQL is the body of a block that gives the newest operator class and family to the login, if they
// are safe. An access method trusts the functions of a class. So only classes of btree and hash are
// accepted, with exactly the required arguments, in trusted languages or with built-in functions.
const ownSQL = `
DECLARE
  class record;
  command text;
BEGIN
  FOR class IN
    SELECT c.oid, a.amname FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
     WHERE c.opcowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) AND c.oid >= 16384
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_opclass'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  LOOP
    IF class.amname NOT IN ('btree', 'hash') OR NOT pg_catalog.amvalidate(class.oid) OR EXISTS (
         SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_amproc m ON m.amprocfamily = c.opcfamily
           JOIN pg_catalog.pg_proc p ON p.oid = m.amproc JOIN pg_catalog.pg_language l ON l.oid = p.prolang
          WHERE c.oid = class.oid AND NOT l.lanpltrusted AND p.oid >= 16384) OR EXISTS (
         SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily
           JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
           JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_language l ON l.oid = p.prolang
          WHERE c.oid = class.oid AND NOT l.lanpltrusted AND p.oid >= 16384) THEN
      RAISE EXCEPTION 'not this operator class';
    END IF;
  END LOOP;
  FOR command IN
    SELECT pg_catalog.format('ALTER OPERATOR CLASS %%I.%%I USING %%I OWNER TO %[1]I', n.nspname, c.opcname, a.amname)
      FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_namespace n ON n.oid = c.opcnamespace JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
     WHERE c.opcowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) AND c.oid >= 16384
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_opclass'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    UNION ALL
    SELECT pg_catalog.format('ALTER OPERATOR FAMILY %%I.%%I USING %%I OWNER TO %[1]I', n.nspname, f.opfname, a.amname)
      FROM pg_catalog.pg_opfamily f JOIN pg_catalog.pg_namespace n ON n.oid = f.opfnamespace JOIN pg_catalog.pg_am a ON a.oid = f.opfmethod
     WHERE f.opfowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) AND f.oid >= 16384
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_opfamily'::regclass AND d.objid = f.oid AND d.deptype = 'e')
  LOOP
    EXECUTE command;
  END LOOP;
END`

// operators creates an operator class or family and gives it to the login.
func (t *trial) operators(ctx context.Context, statement string) error {
	return pgx.BeginFunc(ctx, t.admin.Conn, func(tx pgx.Tx) error {
		// The extended protocol accepts one statement only.
		if err := tx.Conn().PgConn().ExecParams(ctx, statement, nil, nil, nil, nil).Read().Err; err != nil {
			return err
		}
		body := strings.ReplaceAll(ownSQL, "%[1]I", quoted(t.login))
		_, err := tx.Exec(ctx, "DO "+literal(strings.ReplaceAll(body, "%%", "%")))
		return err
	})
}

// literal quotes a text, with standard_conforming_strings on.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// settleTables records the differing tables that could not be filled here as unchecked, and returns
// the others as faults.
func (t *trial) settleTables(found []difference) (faults []string) {
	for _, d := range found {
		switch {
		case d.missing && len(t.unchecked) > 0, t.unfilled[d.table]:
			t.uncounted = append(t.uncounted, d.table)
			t.unchecked = append(t.unchecked, fmt.Sprintf("the rows of table %s: %s", identifier(d.table), needsUnchecked))
		default:
			faults = append(faults, d.text)
		}
	}
	return faults
}

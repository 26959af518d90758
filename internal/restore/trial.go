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

// A trial is a rehearsal that goes on after what its login may not do, or the scratch server has
// not got: that says nothing of the export. No statement of an export is run by a superuser but
// those that make operator classes and families, which evaluate nothing.
type trial struct {
	admin *libpq.Session // a superuser's, in the same database; nil: there is none
	login string         // the rehearsal's
	// lacks says that the export needs what the database does not have.
	lacks     bool
	unchecked []string              // beginnings of statements, and why; tables
	unfilled  map[export.Table]bool // their COPY was left out
	uncounted []export.Table
}

// Why a statement could not be checked.
const (
	needsSuperuser = "needs a superuser"
	needsOthers    = "needs what this server does not have"
	needsUnchecked = "needs what could not be made here"
)

// settle says whether a statement that was refused is no fault of the export. Then it was made
// in another way, or is noted.
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

// copying is how pg_dump begins the rows of a table.
var copying = regexp.MustCompile(`^COPY (` + nameForm + `)\.(` + nameForm + `) `)

// nameForm is a name as pg_dump writes it.
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

// leakproof is where pg_dump writes that a function is LEAKPROOF.
var leakproof = regexp.MustCompile(`(?m)^(    LANGUAGE [^\n]*?) LEAKPROOF\b`)

// asAdmin makes what only a superuser may make, as far as that is harmless: it reports whether it
// did. A function is made by the login without LEAKPROOF, because even the defaults of its
// arguments may execute what the export holds; that it is leakproof is then only noted on it.
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

// leakproofSQL is the body of a block that marks the function that the login has made last.
const leakproofSQL = `
BEGIN
  EXECUTE (SELECT pg_catalog.format('ALTER ROUTINE %%s LEAKPROOF', oid::regprocedure)
             FROM pg_catalog.pg_proc WHERE proowner = pg_catalog.to_regrole(%s) ORDER BY oid DESC LIMIT 1);
END`

// ownSQL is the body of a block that gives the newest operator class and family to the login, if
// they cannot lead the server astray: an access method trusts the functions of a class, so only
// those of btree and hash are taken, with the exact arguments that they must have, in languages
// that are trusted or of PostgreSQL's own.
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

// operators makes an operator class or family and gives it to the login.
func (t *trial) operators(ctx context.Context, statement string) error {
	return pgx.BeginFunc(ctx, t.admin.Conn, func(tx pgx.Tx) error {
		// One statement only: this protocol takes no second one.
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

// settleTables settles the tables that differ: those that could not be filled here are noted. What is
// left are faults.
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

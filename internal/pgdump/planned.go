package pgdump

// To plan a query of a table, the server evaluates the expressions of its indexes and extended
// statistics as far as they are constant. It calls functions for that, with the rights of the session,
// which can take back the login's rights and those of every role that the login may take: SET ROLE is
// no boundary for code. COPY of a table plans nothing and calls no such function.
//
// No lock that a reader may take keeps the owner of a table from a CREATE INDEX or CREATE STATISTICS
// between a look at the table and a plan: ACCESS SHARE conflicts with neither. And the owner of a schema
// may rename it, without a lock, and put another table in the place of one that is locked. So a look at
// the expressions is not enough, and a query is planned only where these owners have the rights of the
// login in any case.

// trustedSQL selects the roles that gain nothing by code that the login runs: superusers and the login.
// pg_database_owner (6171, from version 14 on) stands for the owner of the database.
const trustedSQL = `
trusted (oid) AS (
  SELECT oid FROM pg_roles WHERE rolsuper OR rolname = session_user
  UNION ALL
  SELECT 6171 FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
   WHERE d.datname = current_database() AND (r.rolsuper OR r.rolname = session_user)
)`

// ownedSQL is true if only trusted roles can change the indexes and statistics of the table c in the
// schema n, or put another table in its place. An index on a partitioned table makes one on each
// partition, whichever role owns that.
const ownedSQL = `(c.relowner IN (SELECT oid FROM trusted) AND n.nspowner IN (SELECT oid FROM trusted)
  AND NOT (c.relispartition AND EXISTS (
    WITH RECURSIVE up (oid) AS (
      SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid
      UNION
      SELECT i.inhparent FROM up CROSS JOIN LATERAL (SELECT inhparent FROM pg_inherits WHERE inhrelid = up.oid OFFSET 0) i
    )
    SELECT FROM up JOIN pg_class p ON p.oid = up.oid WHERE p.relowner NOT IN (SELECT oid FROM trusted))))`

// codedSQL is true if an index or a statistics object of the table c names a function, an operator or a
// type that is not PostgreSQL's own, which have oids below 16384. A trusted role can have made an index
// with a function of another role. What belongs to an extension of a trusted role does not count: only the
// owner of an extension adds members to it. Each role with CREATE on the database can own an extension.
// The functions of an extension in SQL or PL/pgSQL count all the same, because some need a search_path.
// OFFSET 0 keeps the look-ups by index: without it the server reads pg_depend by what is referred to, for
// each table. The query needs trustedSQL.
const codedSQL = `EXISTS (
  SELECT FROM (SELECT 'pg_class'::regclass::oid, indexrelid FROM pg_index WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL)
               UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxrelid = c.oid OFFSET 0) o (class, oid)
   CROSS JOIN LATERAL (SELECT refclassid, refobjid FROM pg_depend WHERE classid = o.class AND objid = o.oid OFFSET 0) d
   WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass) AND d.refobjid >= 16384
     AND (NOT EXISTS (
            SELECT FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid
             WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e' AND e.refclassid = 'pg_extension'::regclass
               AND x.extowner IN (SELECT oid FROM trusted))
          OR d.refclassid = 'pg_proc'::regclass AND EXISTS (
               SELECT FROM pg_proc f JOIN pg_language l ON l.oid = f.prolang WHERE f.oid = d.refobjid AND l.lanname NOT IN ('c', 'internal'))))`

// plannable reports whether a query of the table can be planned without code of another role. pg_dump
// itself plans a query of a table with a condition.
func (r relation) plannable() bool { return r.owned && !r.coded || r.conditional() }

// conditional reports whether only some rows of an extension's configuration table are dumped.
func (r relation) conditional() bool { return r.condition != nil && *r.condition != "" }

package receipt

import (
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// The types of statements.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	// ExportType is the type for a completely stored export.
	ExportType = "https://github.com/pgcourier/pgcourier/receipt/export/v1"
	// VerificationType is the type for an export that a verifier has read back and restored.
	VerificationType = "https://github.com/pgcourier/pgcourier/receipt/verification/v1"
)

// Statement is an in-toto Statement v1 about one stored object.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject is the stored object.
type Subject struct {
	Name   string            `json:"name"` // of the file
	Digest map[string]string `json:"digest"`
}

// Predicate holds the facts about the object.
type Predicate struct {
	ProjectID   string `json:"project_id"`
	RequestID   string `json:"request_id"`
	Attempt     int    `json:"attempt"`
	Format      string `json:"format,omitempty"`
	Compression string `json:"compression,omitempty"`
	Encryption  string `json:"encryption,omitempty"`
	SizeBytes   int64  `json:"size_bytes"`   // of the dump
	StoredBytes int64  `json:"stored_bytes"` // of the object
	// Stream is counted in the dump, Snapshot in the dumped snapshot of the source. Restored is
	// counted in the restored database; verifications only.
	Stream   Counts  `json:"stream"`
	Snapshot *Counts `json:"snapshot,omitempty"`
	Restored *Counts `json:"restored,omitempty"`
	// Unchecked counts statements of the dump, and tables, that a verifier could not try because of
	// missing rights or missing objects of other schemas.
	Unchecked int64 `json:"unchecked,omitzero"`
	// DumpSHA256 is of the dump itself, as a verifier read it.
	DumpSHA256 string   `json:"dump_sha256,omitempty"`
	Versions   Versions `json:"versions"`
	// Recipients are the fingerprints of the keys that decrypt the object, sorted.
	Recipients []string  `json:"recipients,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
}

// Counts are tables with data and rows.
type Counts struct {
	Tables int64 `json:"tables"`
	Rows   int64 `json:"rows"`
}

// Versions are the versions of the programs that made the export.
type Versions struct {
	PGCourier string `json:"pgcourier"`
	Server    string `json:"server"` // of the source, or of the scratch server
	PgDump    string `json:"pg_dump,omitempty"`
}

// SHA256 returns the digest of the object in lower-case hexadecimal.
func (s Statement) SHA256() string {
	if len(s.Subject) != 1 {
		return ""
	}
	return s.Subject[0].Digest["sha256"]
}

// Lines returns the facts of the statement as pairs of name and text, for people.
func (s Statement) Lines() [][2]string {
	p := s.Predicate
	versions := "PostgreSQL " + p.Versions.Server
	if p.Versions.PgDump != "" {
		versions += ", pg_dump " + p.Versions.PgDump
	}
	lines := [][2]string{
		{"export", fmt.Sprintf("%s/%s, attempt %d", p.ProjectID, p.RequestID, p.Attempt)},
		{"file", s.Subject[0].Name},
		{"sha256", s.SHA256()},
		{"size", fmt.Sprintf("%d bytes dumped, %d stored", p.SizeBytes, p.StoredBytes)},
		{"stream", p.Stream.String()},
	}
	if p.Snapshot != nil {
		lines = append(lines, [2]string{"snapshot", p.Snapshot.String()})
	}
	if p.Restored != nil {
		lines = append(lines, [2]string{"restored", p.Restored.String()})
	}
	if p.Unchecked > 0 {
		lines = append(lines, [2]string{"not tried", fmt.Sprintf("%d statements and tables", p.Unchecked)})
	}
	lines = append(lines, [2]string{"versions", versions + ", pgcourier " + p.Versions.PGCourier})
	if len(p.Recipients) > 0 {
		lines = append(lines, [2]string{"recipients", strings.Join(p.Recipients, ", ")})
	}
	return append(lines, [2]string{"finished", p.FinishedAt.UTC().Format(time.RFC3339)})
}

// String returns text such as "2 rows in 1 tables".
func (c Counts) String() string { return fmt.Sprintf("%d rows in %d tables", c.Rows, c.Tables) }

// check returns an error if this package could not have made the statement.
func (s Statement) check() error {
	sum, err := hex.DecodeString(s.SHA256())
	switch {
	case s.Type != StatementType:
		return fmt.Errorf("%w: it is no in-toto statement v1", ErrWrong)
	case s.PredicateType != ExportType && s.PredicateType != VerificationType:
		return fmt.Errorf("%w: it says nothing of an export", ErrWrong)
	case err != nil || len(sum) != 32:
		return fmt.Errorf("%w: it names no SHA-256", ErrWrong)
	}
	return nil
}

// ofExport returns the statement of an export under a key of the storage.
func ofExport(key string, out export.Outcome, version string) Statement {
	a := out.Artifact
	counts := Counts{Tables: int64(a.Tables), Rows: a.Rows}
	snapshot := counts // an artifact exists only if both are equal, table by table
	return Statement{
		Type: StatementType, PredicateType: ExportType,
		Subject: []Subject{{Name: path.Base(key), Digest: map[string]string{"sha256": a.SHA256}}},
		Predicate: Predicate{
			ProjectID: out.Project, RequestID: out.Request, Attempt: out.Attempt,
			Format: string(a.Format), Compression: string(a.Compression), Encryption: string(a.Encryption),
			SizeBytes: a.SizeBytes, StoredBytes: a.StoredBytes, Stream: counts, Snapshot: &snapshot,
			Versions:   Versions{PGCourier: version, Server: a.ServerVersion, PgDump: a.PgDumpVersion},
			Recipients: a.Recipients, StartedAt: out.StartedAt.UTC(), FinishedAt: out.FinishedAt.UTC(),
		},
	}
}

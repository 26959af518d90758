package restore

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// attaching matches pg_dump's statement that attaches a partition, or an index of one, to its parent.
// The group is the parent's schema.
var attaching = regexp.MustCompile(`^ALTER (?:TABLE ONLY|INDEX) (` + nameForm + `)\.(?:` + nameForm + `) ATTACH PARTITION `)

// attachesElsewhere reports whether a statement attaches something to a parent outside of the
// export's schemas. Such a parent may have indexes: ATTACH PARTITION would then create the indexes of
// the partition, and those of the script would be refused. After the script has created them, ATTACH
// PARTITION uses them.
func (s *steps) attachesElsewhere(statement string) bool {
	m := attaching.FindStringSubmatch(bare(statement))
	if m == nil {
		return false
	}
	return !slices.Contains(s.feed.export.Manifest.Artifact.Schemas, unquoted(m[1]))
}

// attach runs the delayed attachments.
func (s *steps) attach(ctx context.Context) error {
	for _, statement := range s.attachments {
		if err := s.execute(ctx, statement, false); err != nil {
			return err
		}
	}
	return nil
}

// bare returns a statement without its leading comments.
func bare(statement string) string {
	for {
		statement = strings.TrimLeft(statement, " \t\r\n")
		if !strings.HasPrefix(statement, "--") {
			return statement
		}
		_, statement, _ = strings.Cut(statement, "\n")
	}
}

package restore

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// attaching is how pg_dump attaches a partition, or the index of one, to its parent. The group is
// the parent's schema.
var attaching = regexp.MustCompile(`^ALTER (?:TABLE ONLY|INDEX) (` + nameForm + `)\.(?:` + nameForm + `) ATTACH PARTITION `)

// attachesElsewhere says whether a statement attaches something to a parent outside of the
// export's schemas. Such a parent may have indexes: then ATTACH PARTITION makes those of the
// partition, and the script's own would be refused. Once the script has made them, ATTACH
// PARTITION takes them.
func (s *steps) attachesElsewhere(statement string) bool {
	m := attaching.FindStringSubmatch(bare(statement))
	if m == nil {
		return false
	}
	return !slices.Contains(s.feed.export.Manifest.Artifact.Schemas, unquoted(m[1]))
}

// attach runs what was put off.
func (s *steps) attach(ctx context.Context) error {
	for _, statement := range s.attachments {
		if err := s.execute(ctx, statement, false); err != nil {
			return err
		}
	}
	return nil
}

// bare is a statement without the comments before it.
func bare(statement string) string {
	for {
		statement = strings.TrimLeft(statement, " \t\r\n")
		if !strings.HasPrefix(statement, "--") {
			return statement
		}
		_, statement, _ = strings.Cut(statement, "\n")
	}
}

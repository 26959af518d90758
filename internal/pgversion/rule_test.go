package pgversion_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/pgversion"
)

func TestANewerVersionHasWhatTheNewestKnownHas(t *testing.T) {
	t.Parallel()
	const newer = pgversion.Newest + 1
	for f, words := range features {
		if pgversion.Has(newer, f) != pgversion.Has(pgversion.Newest, f) {
			t.Errorf("%s differs between %d and %d", words, newer, pgversion.Newest)
		}
		if pgversion.Has(pgversion.Oldest-1, f) {
			t.Errorf("a version older than any known has %s", words)
		}
	}
	if !pgversion.Newer(newer) || pgversion.Newer(pgversion.Newest) {
		t.Errorf("newer than any known: %d %t, %d %t", newer, pgversion.Newer(newer), pgversion.Newest, pgversion.Newer(pgversion.Newest))
	}
	if got := writtenBy(newer); got != pgversion.NewestArchive {
		t.Errorf("pg_dump %d is expected to write 1.%d", newer, got)
	}
	for _, a := range pgversion.Advisories() {
		if at := a.FixedIn(newer); at != 0 {
			t.Errorf("%s is in %d up to minor release %d", a.ID, newer, at)
		}
	}
}

// writtenBy returns the minor number of the archive version that pg_dump of a major version writes.
func writtenBy(major int) int {
	written := pgversion.OldestArchive
	for minor := pgversion.OldestArchive; minor <= pgversion.NewestArchive; minor++ {
		if a, _ := pgversion.ArchiveOf(minor); a.Since <= major {
			written = minor
		}
	}
	return written
}

func TestArchivesThatCanBeRead(t *testing.T) {
	t.Parallel()
	for minor, want := range map[int]bool{0: false, 11: false, 12: true, 16: true, 17: false, 255: false} {
		if a, ok := pgversion.ArchiveOf(minor); ok != want || ok && a.Minor != minor {
			t.Errorf("1.%d: %+v, %t", minor, a, ok)
		}
	}
	for major, want := range map[int]int{9: 12, 10: 13, 11: 13, 12: 14, 15: 14, 16: 15, 17: 16, 18: 16} {
		if got := writtenBy(major); got != want {
			t.Errorf("pg_dump %d writes 1.%d, want 1.%d", major, got, want)
		}
	}
}

func TestWhichReleasesKnowRestrict(t *testing.T) {
	t.Parallel()
	for release, want := range map[[2]int]bool{
		{12, 22}: false, {13, 21}: false, {13, 22}: true, {15, 13}: false, {15, 14}: true, {16, 9}: false,
		{16, 10}: true, {17, 5}: false, {17, 6}: true, {18, 0}: true, {18, 6}: true, {99, 0}: true,
	} {
		if got := pgversion.Restrict(release[0], release[1]); got != want {
			t.Errorf("%d.%d knows \\restrict: %t", release[0], release[1], got)
		}
	}
}

// Other packages compare no version with a number: only this package knows the features of a
// version.
func TestVersionsAreComparedWithNumbersHereOnly(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	for _, root := range []string{"../../cmd", "../../handlers", "../../internal"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/pgversion/") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if c, ok := n.(*ast.BinaryExpr); ok && (isMajor(c.X) && isNumber(c.Y) || isNumber(c.X) && isMajor(c.Y)) {
					t.Errorf("%s: a version is compared with a number", files.Position(n.Pos()))
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// isMajor says whether the expression is named major, Major, Major() or the like.
func isMajor(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		return isMajor(e.Fun)
	case *ast.SelectorExpr:
		return isMajor(e.Sel)
	case *ast.Ident:
		return strings.EqualFold(e.Name, "major")
	default:
		return false
	}
}

// isNumber says whether the expression is a number that can be a version: 0 is not.
func isNumber(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.INT {
		return false
	}
	n, err := strconv.Atoi(l.Value)
	return err == nil && n > 0
}

func ExampleHas() {
	fmt.Println(pgversion.Has(16, pgversion.TransactionTimeout), pgversion.Has(17, pgversion.TransactionTimeout))
	// Output: false true
}

package access

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Scope is one kind of call that a caller may make.
type Scope string

// The scopes.
const (
	Export   Scope = "export"   // request exports, and cancel them
	Read     Scope = "read"     // see exports, their events and the schedules
	Download Scope = "download" // download exports, and issue links to them
	Operate  Scope = "operate"  // cancel, replay and delete exports, and change schedules
	Restore  Scope = "restore"  // restore exports into projects, which may replace their data
	Admin    Scope = "admin"    // all of these
)

// Scopes returns all scopes in the order of the documents.
func Scopes() []Scope { return []Scope{Export, Read, Download, Operate, Restore, Admin} }

// AllProjects stands for every project in a Grant. It is not a valid project id.
const AllProjects = "*"

// Grant is the rights of an authenticated caller.
type Grant struct {
	// Subject names the caller in events and in the audit: "token:" and the token's id, or "oidc:"
	// and the subject of its issuer. See ValidSubject.
	Subject   string
	Projects  []string // ids, or AllProjects alone
	Scopes    []Scope
	ExpiresAt time.Time // zero: never
}

// maxSubject is the longest name of a caller in an event, in characters: requestedBy in the schemas.
const maxSubject = 200

// ValidSubject reports whether s can name a caller in events: 1 to 200 characters, none of them a
// control character.
func ValidSubject(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxSubject && !strings.ContainsFunc(s, unicode.IsControl)
}

// Covers reports whether the grant includes a project, for any scope.
func (g Grant) Covers(project string) bool {
	return slices.Contains(g.Projects, project) || slices.Contains(g.Projects, AllProjects)
}

// Allows reports whether the grant includes a project and one of the scopes.
func (g Grant) Allows(project string, scopes ...Scope) bool {
	has := func(s Scope) bool { return slices.Contains(g.Scopes, s) }
	return g.Covers(project) && (has(Admin) || slices.ContainsFunc(scopes, has))
}

// ParseScopes returns the scopes with the names, sorted and without duplicates. An unknown name is an
// error.
func ParseScopes(names []string) ([]Scope, error) {
	var out []Scope
	for _, n := range names {
		s := Scope(strings.TrimSpace(n))
		if !slices.Contains(Scopes(), s) {
			return nil, fmt.Errorf("%q is not a scope: there are export, read, download, operate, restore and admin", n)
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

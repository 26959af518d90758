package access

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scope is one kind of call that a caller may make.
type Scope string

// The scopes.
const (
	Export   Scope = "export"   // ask for exports, and cancel them
	Read     Scope = "read"     // see exports, their events and the schedules
	Download Scope = "download" // fetch exports, and make links to them
	Operate  Scope = "operate"  // cancel, replay and delete exports, and change schedules
	Admin    Scope = "admin"    // all of these
)

// Scopes returns all scopes in the order of the documents.
func Scopes() []Scope { return []Scope{Export, Read, Download, Operate, Admin} }

// AllProjects stands for every project in a Grant. It is no valid project id.
const AllProjects = "*"

// Grant is what an authenticated caller may do.
type Grant struct {
	// Subject names the caller in events and in the audit: "token:" and the token's id, or "oidc:"
	// and the subject of its issuer.
	Subject   string
	Projects  []string // ids, or AllProjects alone
	Scopes    []Scope
	ExpiresAt time.Time // zero: never
}

// Covers reports whether the grant is for a project, whatever for.
func (g Grant) Covers(project string) bool {
	return slices.Contains(g.Projects, project) || slices.Contains(g.Projects, AllProjects)
}

// Allows reports whether the grant is for a project and for one of the scopes.
func (g Grant) Allows(project string, scopes ...Scope) bool {
	has := func(s Scope) bool { return slices.Contains(g.Scopes, s) }
	return g.Covers(project) && (has(Admin) || slices.ContainsFunc(scopes, has))
}

// ParseScopes reads scopes, each of them known. They are returned sorted, each once.
func ParseScopes(names []string) ([]Scope, error) {
	var out []Scope
	for _, n := range names {
		s := Scope(strings.TrimSpace(n))
		if !slices.Contains(Scopes(), s) {
			return nil, fmt.Errorf("%q is not a scope: there are export, read, download, operate and admin", n)
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

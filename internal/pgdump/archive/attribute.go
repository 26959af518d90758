package archive

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotSplit says that an archive cannot be split: some part of it does not provably belong to one
// project.
var ErrNotSplit = errors.New("the archive cannot be split by project")

// Owners of an entry other than the projects, which are numbered from 0.
const (
	noProject   = -1
	allProjects = -2 // part of each archive
)

// owners finds the project of each entry.
type owners struct {
	schemas map[string]int // the project of each schema
	found   map[int64]int  // the project of the SCHEMA or DATABASE entry with this id
}

func newOwners(projects [][]string) (*owners, error) {
	o := &owners{schemas: map[string]int{}, found: map[int64]int{}}
	for i, schemas := range projects {
		if len(schemas) == 0 {
			return nil, fmt.Errorf("%w: project %d has no schema", ErrNotSplit, i)
		}
		for _, name := range schemas {
			if was, taken := o.schemas[name]; taken && was != i || name == "" {
				return nil, fmt.Errorf("%w: schema %q belongs to projects %d and %d", ErrNotSplit, name, was, i)
			}
			o.schemas[name] = i
		}
	}
	return o, nil
}

// attribute returns the project of each entry.
func (o *owners) attribute(entries []Entry) ([]int, error) {
	ids := make(map[int64]bool, len(entries))
	for _, e := range entries {
		if ids[e.ID] {
			return nil, fmt.Errorf("%w: id %d appears twice", ErrNotSplit, e.ID)
		}
		ids[e.ID] = true
		if e.Schema != "" {
			continue
		}
		if owner, ok := o.schemas[e.Tag]; ok && e.Kind == "SCHEMA" {
			o.found[e.ID] = owner
		} else if e.Kind == "DATABASE" {
			o.found[e.ID] = allProjects
		}
	}
	out := make([]int, len(entries))
	for i, e := range entries {
		if out[i] = o.of(e); out[i] == noProject {
			return nil, fmt.Errorf("%w: entry %d (%q in schema %q) is no project's", ErrNotSplit, e.ID, e.Kind, e.Schema)
		}
	}
	return out, nil
}

func (o *owners) of(e Entry) int {
	if e.Schema != "" {
		if owner, ok := o.schemas[e.Schema]; ok && e.Kind != "SCHEMA" {
			return owner
		}
		return noProject
	}
	if e.HasData { // large objects
		return noProject
	}
	switch e.Kind {
	case "SCHEMA", "DATABASE":
		if owner, ok := o.found[e.ID]; ok {
			return owner
		}
	case "COMMENT", "ACL", "SECURITY LABEL", "DATABASE PROPERTIES":
		if e.Kind == "DATABASE PROPERTIES" && len(e.Dependencies) == 0 {
			return allProjects // settings of the database, which are in every dump of it
		}
		if len(e.Dependencies) != 1 {
			return noProject
		}
		owner, ok := o.found[e.Dependencies[0]]
		onSchema := e.Kind != "DATABASE PROPERTIES" && strings.HasPrefix(e.Tag, "SCHEMA ")
		if ok && (owner == allProjects || onSchema) {
			return owner
		}
	case "ENCODING", "STDSTRINGS", "SEARCHPATH":
		if e.Tag == e.Kind && len(e.Dependencies) == 0 {
			return allProjects
		}
	default:
	}
	return noProject
}

package destinations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// ErrNoExport says that no destination holds the export.
var ErrNoExport = errors.New("no such export is stored")

// NoExportError is the ErrNoExport of an ID or a key.
type NoExportError struct{ ID string }

func (e *NoExportError) Error() string { return fmt.Sprintf("no export %q is stored", e.ID) }

// Is implements errors.Is.
func (e *NoExportError) Is(target error) bool { return target == ErrNoExport }

// AmbiguousError says that an ID means several exports.
type AmbiguousError struct {
	ID      string
	Exports []string // PROJECT/REQUEST of each, sorted
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("several exports are meant by %q: choose one: %s", e.ID, strings.Join(e.Exports, ", "))
}

// Reader finds stored exports over all destinations of a set. The set's owner closes it.
type Reader struct {
	Set Set
	// Identities open encrypted exports.
	Identities []age.Identity
}

// NewReader makes a Reader of opened destinations.
func NewReader(set Set, identities []age.Identity) *Reader {
	return &Reader{Set: set, Identities: identities}
}

// Copy is one complete export at one destination.
type Copy struct {
	Destination *Destination
	Key         string
	ID          export.ID
	// Attempt is the highest where several attempts of a request left an export: a later
	// attempt begins only after the earlier one lost its right to the request.
	Attempt int
}

// ParseKey reads a key as the exporter makes it: PROJECT/[LABEL/]REQUEST.ATTEMPT.EXTENSION.
func ParseKey(key string) (id export.ID, attempt int, ok bool) {
	project, _, _ := strings.Cut(key, "/")
	request, rest, _ := strings.Cut(path.Base(key), ".")
	number, _, _ := strings.Cut(rest, ".")
	attempt, err := strconv.Atoi(number)
	return export.ID{Project: project, Request: request}, attempt, err == nil && attempt > 0 && project != path.Base(key)
}

// Find returns the copies of the one export that an ID means, one for each destination that
// has it. An ID is a request id, PROJECT/REQUEST, or a key. unread says which destinations
// could not be asked, although one had the export. Errors are a *NoExportError, an
// *AmbiguousError, or those of the destinations.
func (r *Reader) Find(ctx context.Context, id string) (copies []Copy, unread, err error) {
	found, unread, err := r.Search(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	var ids []string
	for _, c := range found {
		ids = append(ids, c.ID.String())
	}
	slices.Sort(ids)
	switch ids = slices.Compact(ids); {
	case len(ids) > 1:
		return nil, nil, &AmbiguousError{id, ids}
	case len(found) == 0 && unread != nil:
		return nil, nil, unread
	case len(found) == 0:
		return nil, nil, &NoExportError{id}
	}
	last := slices.MaxFunc(found, func(a, b Copy) int { return cmp.Compare(a.Attempt, b.Attempt) })
	return slices.DeleteFunc(found, func(c Copy) bool { return c.Key != last.Key }), unread, nil
}

// Search lists all copies that an ID can mean, of every attempt. unread says which
// destinations could not be asked; the error is the end of ctx.
func (r *Reader) Search(ctx context.Context, id string) (found []Copy, unread, err error) {
	var faults []error
	for _, d := range r.Set {
		for key, err := range d.Keys(ctx) {
			if err != nil {
				if ctx.Err() != nil {
					return nil, nil, err
				}
				faults = append(faults, fmt.Errorf("%s: %w", d.Name, err))
				break
			}
			of, attempt, ok := ParseKey(key)
			if key == id || ok && (of.Request == id || of.String() == id) {
				found = append(found, Copy{d, key, of, attempt})
			}
		}
	}
	return found, errors.Join(faults...), nil
}

// Manifest reads the manifest of a copy. Errors name the destination; one is a NoExportError
// when the copy is gone.
func (c Copy) Manifest(ctx context.Context) (storage.Document, error) {
	doc, err := c.Destination.Manifest(ctx, c.Key)
	if errors.Is(err, storage.ErrNotFound) {
		err = &NoExportError{c.Key}
	}
	if err != nil {
		return doc, fmt.Errorf("%s: %w", c.Destination.Name, err)
	}
	return doc, nil
}

package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Delete implements export.Store: it is Remove without the answer.
func (r *Repository) Delete(ctx context.Context, key string) error {
	_, err := r.Remove(ctx, key)
	return err
}

// Remove removes all that Put ever made under key, finished or not, and says what became
// of it: Absent, Deleted, or Hidden or Tombstoned if that is all the destination still does for at
// least one part. The manifest goes first, so a Remove that is interrupted leaves an
// unfinished export, and the next Remove takes the rest. Errors are Faults.
func (r *Repository) Remove(ctx context.Context, key string) (Deletion, error) {
	if err := CheckKey(key); err != nil {
		return Absent, asFault(err)
	}
	var d Deletion
	var err error
	if lister, ok := r.driver.(Lister); ok {
		d, err = lister.Sweep(ctx, key)
	} else {
		d, err = r.removeNoted(ctx, key)
	}
	if err != nil {
		return d, asFault(fmt.Errorf("delete %s: %w", key, err))
	}
	return d, nil
}

// removeNoted deletes what the manifest and the journal name. All of it is noted before
// the index forgets the key, so that an interrupted Remove can be repeated.
func (r *Repository) removeNoted(ctx context.Context, key string) (Deletion, error) {
	manifest, err := r.catalog.find(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Absent, err
	}
	if err == nil {
		if err := r.noteAll(ctx, key, manifest); err != nil {
			return Absent, err
		}
		if err := r.catalog.remove(ctx, key, manifest); err != nil {
			return Absent, err
		}
	}
	refs, err := r.journal.Refs(ctx, key)
	if err != nil {
		return Absent, fmt.Errorf("read the journal: %w", err)
	}
	result := Absent
	for _, ref := range slices.Backward(refs) {
		d, err := r.driver.Delete(ctx, ref)
		if err != nil {
			return result, err
		}
		result = max(result, d)
	}
	if err := r.journal.Forget(ctx, key); err != nil {
		return result, fmt.Errorf("clear the journal: %w", err)
	}
	return result, nil
}

// noteAll notes the parts and the manifest of a complete export. A manifest that is gone
// or unreadable names no parts; what the journal holds is deleted all the same.
func (r *Repository) noteAll(ctx context.Context, key string, manifest Ref) error {
	doc, err := r.document(ctx, key, manifest)
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrVersion) {
		return err
	}
	refs := []Ref{}
	for _, p := range doc.Parts {
		refs = append(refs, p.Ref)
	}
	for _, ref := range append(refs, manifest) {
		if err := r.journal.Note(ctx, key, ref); err != nil {
			return fmt.Errorf("note a part: %w", err)
		}
	}
	return nil
}

package storage

import (
	"context"
	"slices"
	"sync"
)

var _ Journal = (*MemoryJournal)(nil)

// MemoryJournal is a journal that lasts as long as the process: enough for tests and for a command
// that reads or deletes complete exports: their manifests name all parts. A
// worker needs one that outlives it. Its zero value is ready.
type MemoryJournal struct {
	mu   sync.Mutex
	refs map[string][]Ref
}

// Note implements Journal.
func (j *MemoryJournal) Note(ctx context.Context, key string, ref Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.refs == nil {
		j.refs = map[string][]Ref{}
	}
	if !slices.Contains(j.refs[key], ref) {
		j.refs[key] = append(j.refs[key], ref)
	}
	return nil
}

// Refs implements Journal.
func (j *MemoryJournal) Refs(ctx context.Context, key string) ([]Ref, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.refs[key]), ctx.Err()
}

// Forget implements Journal.
func (j *MemoryJournal) Forget(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.refs, key)
	return nil
}

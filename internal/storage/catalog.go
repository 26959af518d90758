package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	strict "github.com/go-json-experiment/json"
)

// catalog leads from keys to manifests.
type catalog interface {
	// find returns a key's manifest; ErrNotFound.
	find(ctx context.Context, key string) (Ref, error)
	add(ctx context.Context, key string, manifest Ref) error
	// remove takes the key out if it still leads to manifest; "" stands for any.
	remove(ctx context.Context, key string, manifest Ref) error
	// keys yields all keys that have a manifest. An error ends the sequence.
	keys(ctx context.Context) iter.Seq2[string, error]
}

// listed is the catalogue of a destination that can list: the names are the catalogue.
type listed struct{ driver Lister }

func (l listed) find(ctx context.Context, key string) (Ref, error) {
	return l.driver.Find(ctx, Name{Key: key, Kind: Manifest})
}

func (listed) add(context.Context, string, Ref) error    { return nil }
func (listed) remove(context.Context, string, Ref) error { return nil }

func (l listed) keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for n, err := range l.driver.Names(ctx) {
			if err == nil && n.Kind != Manifest {
				continue
			}
			if !yield(n.Key, err) || err != nil {
				return
			}
		}
	}
}

// indexRounds bounds how often a change of the index is written again because another
// process wrote at the same time.
const indexRounds = 8

// indexed is the catalogue of a destination that keeps one index document.
//
// The index has no compare-and-swap. Within a process changes queue up; between processes
// each change is read back and written again when another writer overtook it. A change
// that is overtaken after that look is lost from the index, though not from storage: the
// ledger and the names of the manifests still know it.
type indexed struct {
	mu     sync.Mutex
	driver Indexer
	guard  atomic.Pointer[func(context.Context) error] // see Repository.GuardIndex; nil: none
}

// index is the document: keys and where their manifests are.
type index struct {
	Version   int            `json:"version"` // 1
	Manifests map[string]Ref `json:"manifests"`
	// Check is the SHA-256 of the map's JSON: a damaged index is never written over.
	Check string `json:"check"`
}

func (i index) check() (string, error) {
	b, err := json.Marshal(i.Manifests) // map keys are sorted
	if err != nil {
		return "", fmt.Errorf("encode index: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

func (x *indexed) load(ctx context.Context) (map[string]Ref, error) {
	b, err := x.driver.Index(ctx)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	if b != nil {
		return decodeIndex(b)
	}
	if guard := x.guard.Load(); guard != nil {
		if err := (*guard)(ctx); err != nil {
			return nil, err
		}
	}
	return map[string]Ref{}, nil
}

// GuardIndex sets what is asked when the destination has no index: with an error, nothing is read and
// no index is begun. It has no effect on a destination that can list.
func (r *Repository) GuardIndex(ask func(context.Context) error) {
	if x, ok := r.catalog.(*indexed); ok {
		x.guard.Store(&ask)
	}
}

// CheckIndex reads the index, if the destination keeps one.
func (r *Repository) CheckIndex(ctx context.Context) error {
	if x, ok := r.catalog.(*indexed); ok {
		_, err := x.load(ctx)
		return asFault(err)
	}
	return nil
}

// BeginIndex writes an empty index, without asking the guard. ErrExists: there is an index, or the
// destination needs none.
func (r *Repository) BeginIndex(ctx context.Context) error {
	x, ok := r.catalog.(*indexed)
	if !ok {
		return ErrExists
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch b, err := x.driver.Index(ctx); {
	case err != nil:
		return asFault(err)
	case b != nil:
		return ErrExists
	}
	return asFault(x.save(ctx, map[string]Ref{}))
}

// decodeIndex reads an index as strictly as DecodeDocument reads a manifest. Every program with the
// right to write to the destination can replace it, so its keys and references are checked before
// use. ErrVersion: it is a later version's. ErrDamaged: anything else.
func decodeIndex(b []byte) (map[string]Ref, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := strict.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("%w: index: %w", ErrDamaged, err)
	}
	if v.Version > documentVersion {
		return nil, fmt.Errorf("%w: index %d", ErrVersion, v.Version)
	}
	var i index
	if err := strict.Unmarshal(b, &i, strict.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: index: %w", ErrDamaged, err)
	}
	check, err := i.check()
	if err != nil {
		return nil, err
	}
	if i.Version != documentVersion || check != i.Check || i.Manifests == nil {
		return nil, fmt.Errorf("%w: index: wrong version or check sum", ErrDamaged)
	}
	for key, ref := range i.Manifests {
		if err := CheckKey(key); err != nil || ref == "" || len(ref) > MaxRef {
			return nil, fmt.Errorf("%w: index: an entry that no export has", ErrDamaged)
		}
	}
	return i.Manifests, nil
}

func (x *indexed) save(ctx context.Context, m map[string]Ref) error {
	b, err := encodeIndex(m)
	if err != nil {
		return err
	}
	if err := x.driver.SetIndex(ctx, b); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func encodeIndex(m map[string]Ref) ([]byte, error) {
	i := index{Version: documentVersion, Manifests: m}
	var err error
	if i.Check, err = i.check(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	return b, nil
}

// change brings the index to where done holds.
func (x *indexed) change(ctx context.Context, done func(map[string]Ref) bool, apply func(map[string]Ref)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for range indexRounds {
		m, err := x.load(ctx)
		if err != nil {
			return err
		}
		if done(m) {
			return nil
		}
		apply(m)
		if err := x.save(ctx, m); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the index is overtaken by other writers again and again", ErrUnavailable)
}

func (x *indexed) find(ctx context.Context, key string) (Ref, error) {
	m, err := x.load(ctx)
	if err != nil {
		return "", err
	}
	ref, ok := m[key]
	if !ok {
		return "", fmt.Errorf("%s: %w", key, ErrNotFound)
	}
	return ref, nil
}

func (x *indexed) add(ctx context.Context, key string, manifest Ref) error {
	taken := false
	err := x.change(ctx, func(m map[string]Ref) bool {
		ref, ok := m[key]
		taken = ok && ref != manifest
		return ok
	}, func(m map[string]Ref) { m[key] = manifest })
	if err == nil && taken {
		return fmt.Errorf("%s: %w", key, ErrExists)
	}
	return err
}

func (x *indexed) remove(ctx context.Context, key string, manifest Ref) error {
	return x.change(ctx, func(m map[string]Ref) bool {
		ref, ok := m[key]
		return !ok || manifest != "" && ref != manifest
	}, func(m map[string]Ref) { delete(m, key) })
}

func (x *indexed) keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		m, err := x.load(ctx)
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Journal notes what was accepted by a destination that cannot list, from a part's
// acceptance until its export is complete or deleted. It must be durable, and is safe for
// concurrent use. Where it is shared by the workers (for instance in the ledger's
// database), any of them can clean up after any other.
type Journal interface {
	// Note adds a reference under key. Noting one again is no error.
	Note(ctx context.Context, key string, ref Ref) error
	// Refs returns what is noted under key, in the order of noting.
	Refs(ctx context.Context, key string) ([]Ref, error)
	// Forget removes all notes under key.
	Forget(ctx context.Context, key string) error
}

// noJournal is for destinations that can list.
type noJournal struct{}

func (noJournal) Note(context.Context, string, Ref) error     { return nil }
func (noJournal) Refs(context.Context, string) ([]Ref, error) { return nil, nil }
func (noJournal) Forget(context.Context, string) error        { return nil }

package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/failpoint"
)

var _ export.Store = (*Repository)(nil)

// cleanupTimeout bounds the removal of what a failed Put stored. 10 GiB in parts
// of 19 MiB are 540 deletions.
const cleanupTimeout = 2 * time.Minute

// Config says how a Repository uses its driver.
type Config struct {
	// Driver is the destination. Required; a Lister or an Indexer.
	Driver Driver
	// Journal notes each part as it is accepted, so that Delete finds the parts of an
	// export that was never finished. Required for a driver that cannot list, unused
	// otherwise.
	Journal Journal
	// Name is the destination's in Copy.Destination, for instance "s3". Default: the
	// driver's scheme.
	Name string
	// Recipients can read the descriptions in the manifests written from now on, of exports
	// that are not encrypted to recipients of their own. Empty: the descriptions are in clear. Sizes, hashes and references are always in clear.
	Recipients []age.Recipient
	// Identities open the descriptions of sealed manifests. A worker needs none.
	Identities []age.Identity
}

// Repository keeps exports at one destination. It is safe for concurrent use, and
// several processes may share a destination. It holds nothing to be closed; the driver's
// owner closes the driver.
type Repository struct {
	driver  Driver
	catalog catalog
	journal Journal
	parts   partBuffers

	name       string
	recipients []age.Recipient
	identities []age.Identity
}

// New makes a Repository. It does not touch the destination.
func New(c Config) (*Repository, error) {
	if c.Driver == nil {
		return nil, errors.New("storage: no driver")
	}
	r := &Repository{
		driver: c.Driver, journal: noJournal{},
		name: c.Name, recipients: c.Recipients, identities: c.Identities,
	}
	if r.name == "" {
		r.name = c.Driver.Traits().Scheme
	}
	switch d := c.Driver.(type) {
	case Lister:
		r.catalog = listed{d}
	case Indexer:
		if c.Journal == nil {
			return nil, fmt.Errorf("storage: %s cannot list and needs a journal", d.Traits().Scheme)
		}
		r.catalog, r.journal = &indexed{driver: d}, c.Journal
	default:
		return nil, fmt.Errorf("storage: %s can neither list nor keep an index", d.Traits().Scheme)
	}
	return r, nil
}

// Put implements export.Store. In this order: refuse a key that is taken; store r while
// hashing; compare with describe's manifest, before the last byte becomes visible; read
// back what the destination did not confirm itself; write the manifest. When anything
// fails, all that was stored is removed again, and the export was never visible, because
// it has no manifest.
//
// The faults are codes.StorageFull, codes.StorageUnavailable, and codes.InternalError
// for a bad or taken key and for a description that does not fit (ErrBadKey, ErrExists,
// ErrMismatch in the chain; also export.ErrStored if the key has a manifest). An error of r comes back as it is, wrapped.
func (r *Repository) Put(ctx context.Context, key string, src io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	if err := CheckKey(key); err != nil {
		return nil, asFault(err)
	}
	switch _, err := r.catalog.find(ctx, key); {
	case err == nil:
		return nil, asFault(fmt.Errorf("put %s: %w: %w", key, ErrExists, export.ErrStored))
	case !errors.Is(err, ErrNotFound):
		return nil, asFault(fmt.Errorf("look for %s: %w", key, err))
	}
	p := &put{repo: r, key: key, in: newIntake(ctx, key, src, describe)}
	ref, err := p.run(ctx)
	if err == nil {
		return []export.Copy{p.copy(ref)}, nil
	}
	if cleanupErr := p.undo(context.WithoutCancel(ctx)); cleanupErr != nil {
		err = errors.Join(err, fmt.Errorf("remove what was stored of %s: %w", key, cleanupErr))
	}
	if srcErr := p.in.sourceError(); srcErr != nil {
		return nil, fmt.Errorf("store %s: %w", key, err)
	}
	return nil, asFault(fmt.Errorf("store %s: %w", key, err))
}

// copy says where a complete export lies, and its receipt if it has one.
func (r *Repository) copy(key string, manifest Ref, receipt bool) export.Copy {
	c := export.Copy{Destination: r.name, Status: export.Stored, URI: r.driver.URI(key, manifest)}
	if n, ok := r.driver.(interface{ Notice() string }); ok {
		c.Message = n.Notice()
	}
	switch {
	case receipt && r.lists():
		n := Name{Key: key, Kind: Receipt}.String()
		c.Receipt = r.driver.URI(n, Ref(n))
	case receipt: // it is in the manifest
		c.Receipt = c.URI
	}
	return c
}

// copy says where the export lies that was put.
func (p *put) copy(manifest Ref) export.Copy {
	m, _ := p.in.manifest()
	return p.repo.copy(p.key, manifest, m.Artifact.Receipt != nil)
}

// put is one Put at work.
type put struct {
	repo  *Repository
	key   string
	in    *intake
	parts []Part
	made  []Ref // what to remove when it fails, in the order it was stored
}

func (p *put) run(ctx context.Context) (Ref, error) {
	store := p.whole
	if p.repo.driver.Traits().MaxBlob > 0 {
		store = p.split
	}
	if err := store(ctx); err != nil {
		return "", err
	}
	manifest, err := p.described()
	if err != nil {
		return "", err
	}
	doc := Document{
		Version: documentVersion, Key: p.key, Bytes: p.in.count, SHA256: manifest.Artifact.SHA256,
		Parts: p.parts, Manifest: manifest,
	}
	return p.finish(ctx, doc)
}

// whole stores the stream as one blob.
func (p *put) whole(ctx context.Context) error {
	stored, err := p.repo.driver.Put(ctx, Blob{Name: Name{Key: p.key}, Size: -1, Body: p.in})
	if err != nil {
		return err
	}
	p.made = append(p.made, stored.Ref)
	m, err := p.described()
	if err != nil {
		return err
	}
	return p.accept(ctx, stored, Part{Ref: stored.Ref, Bytes: p.in.count, SHA256: m.Artifact.SHA256})
}

// described is the description of what was read, to its end.
func (p *put) described() (export.Manifest, error) {
	m, ok := p.in.manifest()
	if !ok {
		return m, fmt.Errorf("%w: the driver did not read to the end", ErrUnavailable)
	}
	return m, nil
}

// accept takes note of a stored blob and reads it back unless its destination vouches
// for it.
func (p *put) accept(ctx context.Context, s Stored, part Part) error {
	if err := p.repo.journal.Note(ctx, p.key, s.Ref); err != nil {
		return fmt.Errorf("note a part: %w", err)
	}
	p.parts = append(p.parts, part)
	failpoint.Hit(failpoint.AfterObject)
	if s.Verified {
		return nil
	}
	return p.repo.verify(ctx, part)
}

// finish writes the manifest, reads it back and enters it into the catalogue.
func (p *put) finish(ctx context.Context, doc Document) (Ref, error) {
	if err := doc.validate(); err != nil {
		return "", fmt.Errorf("before writing: %w", err)
	}
	to := doc.Manifest.To
	if len(to) == 0 {
		to = p.repo.recipients
	}
	b, err := doc.encode(to)
	if err != nil {
		return "", err
	}
	if receipt := doc.Manifest.Artifact.Receipt; receipt != nil && p.repo.lists() {
		if _, err := p.small(ctx, Receipt, receipt.Envelope); err != nil {
			return "", fmt.Errorf("receipt: %w", err)
		}
	}
	ref, err := p.small(ctx, Manifest, b)
	if err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	if err := p.repo.catalog.add(ctx, p.key, ref); err != nil {
		return "", fmt.Errorf("index: %w", err)
	}
	// The export is complete. A note that stays is removed by the next Delete.
	_ = p.repo.journal.Forget(ctx, p.key)
	return ref, nil
}

// small stores a blob that is no data, and reads it back.
func (p *put) small(ctx context.Context, kind Kind, b []byte) (Ref, error) {
	sum := sha256.Sum256(b)
	stored, err := p.repo.driver.Put(ctx, Blob{
		Name: Name{Key: p.key, Kind: kind}, Size: int64(len(b)), Body: bytes.NewReader(b),
		SHA256: sum, Parts: len(p.parts),
	})
	if err != nil {
		return "", err
	}
	p.made = append(p.made, stored.Ref)
	if err := p.repo.journal.Note(ctx, p.key, stored.Ref); err != nil {
		return "", fmt.Errorf("note it: %w", err)
	}
	if stored.Verified {
		return stored.Ref, nil
	}
	return stored.Ref, p.repo.verify(ctx, Part{Ref: stored.Ref, Bytes: int64(len(b)), SHA256: hex.EncodeToString(sum[:])})
}

// undo removes what this Put stored, the newest first, so that a manifest goes before
// its data. It never touches what another one stored under the same key.
func (p *put) undo(ctx context.Context) error {
	if len(p.made) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	last := p.made[len(p.made)-1]
	errs := []error{p.repo.catalog.remove(ctx, p.key, last)}
	for i := len(p.made) - 1; i >= 0; i-- {
		_, err := p.repo.driver.Delete(ctx, p.made[i])
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.repo.journal.Forget(ctx, p.key)
}

// verify reads one stored blob back to its end.
func (r *Repository) verify(ctx context.Context, p Part) (err error) {
	body, err := r.driver.Open(ctx, p.Ref, 0)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.LimitReader(contextReader{ctx, body}, p.Bytes+1), make([]byte, 256<<10))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if n != p.Bytes || hex.EncodeToString(h.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("%w: read back %d bytes, wrote %d, or their hashes differ", ErrDamaged, n, p.Bytes)
	}
	return nil
}

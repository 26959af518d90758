package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// maxReceipt bounds a receipt in bytes.
const maxReceipt = 64 << 10

// lists reports whether the destination finds its blobs by name. Only there a receipt is a blob
// of its own; elsewhere it is in the manifest's description alone, for nothing would lead to it.
func (r *Repository) lists() bool {
	_, ok := r.driver.(Lister)
	return ok
}

// Receipt returns what was signed of a complete export: kind is Receipt or Verification.
// Errors are Faults: ErrNotFound in the chain when there is none; ErrSealed when it is in a
// manifest that no identity of the Config opens.
func (r *Repository) Receipt(ctx context.Context, key string, kind Kind) ([]byte, error) {
	doc, _, err := r.lookup(ctx, key)
	if err != nil {
		return nil, asFault(err)
	}
	b, err := r.receipt(ctx, doc, kind)
	if err != nil {
		return nil, asFault(fmt.Errorf("receipt of %s: %w", key, err))
	}
	return b, nil
}

func (r *Repository) receipt(ctx context.Context, doc Document, kind Kind) (b []byte, err error) {
	lister, ok := r.driver.(Lister)
	if !ok {
		return r.describedReceipt(doc, kind)
	}
	ref, err := lister.Find(ctx, Name{Key: doc.Key, Kind: kind})
	if err != nil {
		return nil, err
	}
	body, err := r.driver.Open(ctx, ref, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err = io.ReadAll(io.LimitReader(body, maxReceipt+1))
	if err == nil && len(b) > maxReceipt {
		err = fmt.Errorf("%w: larger than %d bytes", ErrDamaged, maxReceipt)
	}
	return b, err
}

// describedReceipt returns the receipt that is in the manifest.
func (r *Repository) describedReceipt(doc Document, kind Kind) ([]byte, error) {
	doc, err := r.unseal(doc)
	if err != nil {
		return nil, err
	}
	if kind != Receipt || doc.Manifest.Artifact.Receipt == nil {
		return nil, ErrNotFound
	}
	return doc.Manifest.Artifact.Receipt.Envelope, nil
}

// AddVerification stores what was signed of a verified export beside it, and returns where. It
// replaces nothing: one that is there stays. uri is empty where nothing would lead to it.
// Errors are Faults.
func (r *Repository) AddVerification(ctx context.Context, key string, receipt []byte) (uri string, err error) {
	if !r.lists() {
		return "", nil
	}
	n := Name{Key: key, Kind: Verification}
	sum := sha256.Sum256(receipt)
	stored, err := r.driver.Put(ctx, Blob{Name: n, Size: int64(len(receipt)), Body: bytes.NewReader(receipt), SHA256: sum})
	if err == nil && !stored.Verified {
		err = r.verify(ctx, Part{Ref: stored.Ref, Bytes: int64(len(receipt)), SHA256: hex.EncodeToString(sum[:])})
	}
	if err != nil && !errors.Is(err, ErrExists) {
		return "", asFault(fmt.Errorf("store the receipt of %s: %w", key, err))
	}
	return r.driver.URI(n.String(), Ref(n.String())), nil
}

package storagetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
)

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// opened opens the destination as a process with these identities does.
func (dst Destination) opened(t *testing.T, ids ...age.Identity) *storage.Repository {
	t.Helper()
	r, err := storage.New(storage.Config{Driver: dst.Reopen(t), Journal: dst.Journal, Identities: ids})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A description is readable by its recipients only. Without an identity, reading the bytes back,
// finding and deleting the export still work.
func repositorySealed(t *testing.T, dst Destination) {
	mine, other := identity(t), identity(t)
	r, err := storage.New(storage.Config{Driver: dst.Driver, Journal: dst.Journal, Recipients: []age.Recipient{mine.Recipient(), identity(t).Recipient()}})
	if err != nil {
		t.Fatal(err)
	}
	data := Bytes(max(1000, dst.PartSize+1, dst.Driver.Traits().MaxBlob+1))
	save(t, r, someKey, data)
	for what, ids := range map[string][]age.Identity{"none": nil, "another": {other}} {
		stranger := dst.opened(t, ids...)
		doc, err := stranger.Manifest(background(t), someKey)
		if !errors.Is(err, storage.ErrSealed) || doc.Sealed == nil || doc.Manifest.Artifact != nil {
			t.Errorf("%s identity: %+v, %v", what, doc.Manifest, err)
		}
		if doc.Key != someKey || doc.Bytes != int64(len(data)) || len(doc.Parts) == 0 {
			t.Errorf("%s identity: the rest is not readable: %+v", what, doc)
		}
		expectLoad(t, stranger, someKey, data)
		if got := listing(t, stranger); len(got) != 1 || !errors.Is(got[someKey], storage.ErrSealed) {
			t.Errorf("%s identity: listed %v", what, got)
		}
		if _, err := stranger.Copy(background(t), someKey); err != nil {
			t.Errorf("%s identity: copy: %v", what, err)
		}
	}
	reader := dst.opened(t, other, mine)
	doc, err := reader.Manifest(background(t), someKey)
	if err != nil || doc.Sealed != nil || doc.Manifest.Metadata["ticket"] != "<42>" {
		t.Errorf("with the identity: %+v, %v", doc.Manifest, err)
	}
	if got := listing(t, reader); len(got) != 1 || got[someKey] != nil {
		t.Errorf("with the identity: listed %v", got)
	}
	dst.expectSealed(t, mine)
	if d, err := dst.opened(t).Remove(background(t), someKey); err != nil || d == storage.Absent {
		t.Errorf("remove without an identity: %v, %v", d, err)
	}
	dst.expectRemains(t, 0)
}

// expectSealed reads the stored manifest: no part of the description is unencrypted, and a manifest
// that was moved to another export is detected.
func (dst Destination) expectSealed(t *testing.T, mine age.Identity) {
	t.Helper()
	raw := rawManifest(t, dst, mine)
	for _, word := range []string{`"ticket"`, `c42\`, `"started_at"`, `"acme"`, `"rows"`} {
		if bytes.Contains(raw, []byte(word)) {
			t.Errorf("the manifest shows %q:\n%s", word, raw)
		}
	}
	doc, err := storage.DecodeDocument(raw)
	if err != nil {
		t.Fatal(err)
	}
	moved := doc
	moved.SHA256 = strings.Repeat("0", 64)
	if _, err := moved.Unseal([]age.Identity{mine}); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a description of other bytes: %v", err)
	}
	cut := doc
	cut.Sealed = doc.Sealed[:len(doc.Sealed)-1]
	if _, err := cut.Unseal([]age.Identity{mine}); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a description that is cut: %v", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "sealed")
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storage.DecodeDocument(b); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a manifest without a description: %v", err)
	}
}

// rawManifest reads the stored bytes of the only manifest.
func rawManifest(t *testing.T, dst Destination, mine age.Identity) []byte {
	t.Helper()
	var kept []byte
	spy := spyOn(dst.Reopen(t), func(b []byte) { kept = b })
	r, err := storage.New(storage.Config{Driver: spy, Journal: dst.Journal, Identities: []age.Identity{mine}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Manifest(background(t), someKey); err != nil {
		t.Fatal(err)
	}
	return kept
}

// Reading from any byte returns the rest, and detectable damage is detected.
func repositoryResumed(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	part := max(dst.PartSize, dst.Driver.Traits().MaxBlob, 1000)
	data := Bytes(2*part + part/2)
	save(t, r, someKey, data)
	size := int64(len(data))
	for _, at := range []int64{0, 1, part - 1, part, part + 1, 2 * part, size - 1, size} {
		body, err := r.OpenAt(background(t), someKey, at)
		if err != nil {
			t.Fatalf("open at %d: %v", at, err)
		}
		got, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, data[at:]) {
			t.Errorf("from byte %d: %d bytes of %d, or others; %v", at, len(got), size-at, err)
		}
	}
	for _, at := range []int64{-1, size + 1} {
		if _, err := r.OpenAt(background(t), someKey, at); !errors.Is(err, storage.ErrMismatch) {
			t.Errorf("open at %d of %d: %v", at, size, err)
		}
	}
	doc, err := r.Manifest(background(t), someKey)
	if err != nil {
		t.Fatal(err)
	}
	last := doc.Parts[len(doc.Parts)-1]
	short := data[size-last.Bytes : size-1]
	dst.Alter(t, last.Ref, short)
	body, err := r.OpenAt(background(t), someKey, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a part that is cut: %v", err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

// A record outside of the storage tells the expected bytes and whether they are complete.
func repositoryExpected(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	part := max(dst.PartSize, dst.Driver.Traits().MaxBlob, 1000)
	data := Bytes(2*part + part/2)
	save(t, r, someKey, data)
	doc, err := r.Manifest(background(t), someKey)
	if err != nil {
		t.Fatal(err)
	}
	read := func(e storage.Expected, offset int64) ([]byte, error) {
		body, err := r.OpenExpected(background(t), someKey, e, offset)
		if err != nil {
			return nil, err
		}
		got, err := io.ReadAll(body)
		return got, errors.Join(err, body.Close())
	}
	crc := seal.CRC32C(0, data)
	for what, e := range map[string]storage.Expected{"by SHA-256": {SHA256: doc.SHA256}, "by CRC-32C": {SHA256: doc.SHA256, CRC32C: crc}} {
		for _, offset := range []int64{0, 1, part} {
			if got, err := read(e, offset); err != nil || !bytes.Equal(got, data[offset:]) {
				t.Errorf("%s from byte %d: %d bytes, %v", what, offset, len(got), err)
			}
		}
	}
	for what, e := range map[string]storage.Expected{"another SHA-256": {SHA256: strings.Repeat("0", 64), CRC32C: crc}, "another CRC-32C": {SHA256: doc.SHA256, CRC32C: crc ^ 1}} {
		if _, err := read(e, 0); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	last := doc.Parts[len(doc.Parts)-1]
	flipped := bytes.Clone(data[doc.Bytes-last.Bytes:])
	flipped[len(flipped)/2] ^= 1
	dst.Alter(t, last.Ref, flipped)
	for what, e := range map[string]storage.Expected{"by SHA-256": {SHA256: doc.SHA256}, "by CRC-32C": {SHA256: doc.SHA256, CRC32C: crc}} {
		if _, err := read(e, 0); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("a flipped bit, %s: %v", what, err)
		}
	}
}

// spyOn wraps a driver. keep gets the last blob that was read to its end.
func spyOn(d storage.Driver, keep func([]byte)) storage.Driver {
	if l, ok := d.(storage.Lister); ok {
		return spyLister{l, spy{d, keep}}
	}
	return spyIndexer{d.(storage.Indexer), spy{d, keep}}
}

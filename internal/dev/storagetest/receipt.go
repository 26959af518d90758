package storagetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// A receipt can be read wherever the export can, by every process, and is deleted with it.
func repositoryReceipt(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	data, signed := Bytes(3000), []byte(`{"payload":"x"}`)
	describe := func() export.Manifest {
		m := Describe(someKey, data)()
		m.Artifact.Receipt = &export.Receipt{SHA256: "x", KeyID: "y", Envelope: signed}
		return m
	}
	copies, err := r.Put(background(t), someKey, bytes.NewReader(data), describe)
	if err != nil || len(copies) != 1 || copies[0].Receipt == "" {
		t.Fatalf("copies %+v, %v", copies, err)
	}
	other := dst.opened(t)
	if b, err := other.Receipt(background(t), someKey, storage.Receipt); err != nil || !bytes.Equal(b, signed) {
		t.Errorf("receipt %q, %v", b, err)
	}
	if at, err := other.Copy(background(t), someKey); err != nil || at != copies[0] {
		t.Errorf("copy %+v, %v; want %+v", at, err, copies[0])
	}
	if _, err := other.Receipt(background(t), someKey, storage.Verification); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a receipt of no verification: %v", err)
	}
	uri, err := other.AddVerification(background(t), someKey, []byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.AddVerification(background(t), someKey, []byte("third")); err != nil {
		t.Errorf("once more: %v", err)
	}
	if uri != "" {
		if b, err := r.Receipt(background(t), someKey, storage.Verification); err != nil || string(b) != "second" {
			t.Errorf("receipt of the verification %q, %v", b, err)
		}
	}
	expectLoad(t, other, someKey, data)
	if _, err := dst.opened(t).Remove(background(t), someKey); err != nil {
		t.Fatal(err)
	}
	dst.expectRemains(t, 0)
}

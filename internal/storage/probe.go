package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
)

// probeKey begins the names of probes. Without a manifest they are not exports.
const probeKey = "pgcourier-probe."

// ProbeError says which step of a Probe failed.
type ProbeError struct {
	Step string // write, read or delete
	Err  error
}

func (e *ProbeError) Error() string { return e.Step + " a probe: " + e.Err.Error() }

// Unwrap returns why.
func (e *ProbeError) Unwrap() error { return e.Err }

// Probe writes a few bytes under a name of their own, reads them back and deletes them. The probe
// is deleted also when reading failed or ctx ended. The error is or joins
// *ProbeErrors, with the driver's sentinels in the chain; after a failed delete the probe
// stays, under a name that begins with pgcourier-probe.
func (r *Repository) Probe(ctx context.Context) error {
	text := rand.Text()
	body := []byte(text)
	blob := Blob{
		Name: Name{Key: probeKey + strings.ToLower(text)}, Size: int64(len(body)), Body: bytes.NewReader(body), SHA256: sha256.Sum256(body), Parts: 1,
	}
	if r.driver.Traits().MaxBlob > 0 {
		blob.Name.Part = 1
	}
	stored, err := r.driver.Put(ctx, blob)
	if err != nil {
		return &ProbeError{"write", err}
	}
	return errors.Join(r.readProbe(ctx, stored.Ref, body), r.deleteProbe(ctx, stored.Ref))
}

func (r *Repository) readProbe(ctx context.Context, ref Ref, want []byte) error {
	body, err := r.driver.Open(ctx, ref, 0)
	if err != nil {
		return &ProbeError{"read", err}
	}
	got, err := io.ReadAll(io.LimitReader(body, int64(len(want))+1))
	err = errors.Join(err, body.Close())
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%w: it came back changed", ErrDamaged)
	}
	if err != nil {
		return &ProbeError{"read", err}
	}
	return nil
}

func (r *Repository) deleteProbe(ctx context.Context, ref Ref) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	d, err := r.driver.Delete(ctx, ref)
	if err == nil && d == Absent {
		err = fmt.Errorf("%w: it was gone already", ErrNotFound)
	}
	if err != nil {
		return &ProbeError{"delete", err}
	}
	return nil
}

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	strict "github.com/go-json-experiment/json"
)

// sealDescription encrypts a description in the age format.
func sealDescription(description []byte, to []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to...)
	if err != nil {
		return nil, fmt.Errorf("encrypt manifest: %w", err)
	}
	if _, err := w.Write(description); err != nil {
		return nil, fmt.Errorf("encrypt manifest: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypt manifest: %w", err)
	}
	return b.Bytes(), nil
}

// Unseal returns the document with its description opened, and one that is not sealed as
// it is. ErrSealed: none of the identities is one of its recipients'. ErrDamaged: the
// description cannot be decrypted, or is that of another export. age does not name
// the writer: an identity proves the right to read, not the origin.
func (d Document) Unseal(identities []age.Identity) (Document, error) {
	if d.Sealed == nil {
		return d, nil
	}
	if len(identities) == 0 {
		return d, fmt.Errorf("%w: no identity was given", ErrSealed)
	}
	plain, err := age.Decrypt(bytes.NewReader(d.Sealed), identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return d, fmt.Errorf("%w: no identity fits", ErrSealed)
	}
	if err != nil {
		return d, fmt.Errorf("%w: decrypt manifest: %w", ErrDamaged, err)
	}
	b, err := io.ReadAll(io.LimitReader(plain, maxDocument))
	if err != nil {
		return d, fmt.Errorf("%w: decrypt manifest: %w", ErrDamaged, err)
	}
	open := d
	open.Sealed = nil
	if err := strict.Unmarshal(b, &open.Manifest); err != nil {
		return d, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	if err := open.validateDescription(); err != nil {
		return d, err
	}
	return open, nil
}

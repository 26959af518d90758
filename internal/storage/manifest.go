package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"filippo.io/age"
	strict "github.com/go-json-experiment/json"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	documentVersion = 1
	// maxDocument bounds a manifest in bytes: 99,999 parts of 300 bytes each.
	maxDocument = 32 << 20
)

// Part is one stored blob of an export.
type Part struct {
	Ref    Ref    `json:"ref"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// Document is the manifest as it is stored: the export's own description and where its
// bytes lie at this destination.
type Document struct {
	Version int    `json:"version"` // 1
	Key     string `json:"key"`
	Bytes   int64  `json:"bytes"`  // of the whole export as stored
	SHA256  string `json:"sha256"` // of the whole export as stored, lower-case hex
	Parts   []Part `json:"parts"`  // in order; none for an empty export in parts
	// Manifest is what the core said of the export. Zero while it is sealed.
	Manifest export.Manifest `json:"manifest"`
	// Sealed is the description as it was encrypted, until Unseal opened it; nil when
	// Manifest holds it.
	Sealed []byte `json:"sealed,omitempty"`
}

// envelope is a Document as it is written: with its own check sum, and with the core's
// description as the text it was, so that a manifest stays readable when later versions
// add to the description. Exactly one of Manifest and Sealed is there.
//
// The fields that a worker without an identity needs are always in clear: the key, the sizes, the
// hashes and the references, by which it reads back, collects and deletes.
type envelope struct {
	Version  int             `json:"version"`
	Key      string          `json:"key"`
	Bytes    int64           `json:"bytes"`
	SHA256   string          `json:"sha256"`
	Parts    []Part          `json:"parts"`
	Manifest json.RawMessage `json:"manifest,omitempty"`
	// Sealed is the same JSON in the age format, in base64.
	Sealed []byte `json:"sealed,omitempty"`
	// Check is the SHA-256 of all the above as compact JSON, so that damage to the
	// manifest itself is noticed.
	Check string `json:"check,omitempty"`
}

func (s envelope) sum() (string, error) {
	s.Check = ""
	b, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode manifest: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// encode returns the document as indented JSON, readable for people. With
// recipients the description is encrypted to them.
func (d Document) encode(to []age.Recipient) ([]byte, error) {
	manifest, err := json.Marshal(d.Manifest)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	s := envelope{Version: d.Version, Key: d.Key, Bytes: d.Bytes, SHA256: d.SHA256, Parts: d.Parts}
	if len(to) == 0 {
		s.Manifest = manifest
	} else if s.Sealed, err = sealDescription(manifest, to); err != nil {
		return nil, err
	}
	if s.Check, err = s.sum(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// DecodeDocument reads a stored manifest and checks that it is whole and of one piece: its own
// check sum, the sums of its parts, and that it speaks of one key. JSON that two readers could read
// differently is damage too: names twice or in another case, invalid UTF-8, data after the end.
// Fields that a later version added to the description are passed over. A sealed description stays
// sealed; Unseal opens it. ErrVersion: the manifest is of a later version altogether. ErrDamaged:
// anything else.
func DecodeDocument(b []byte) (Document, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := strict.Unmarshal(b, &v); err != nil {
		return Document{}, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	if v.Version > documentVersion {
		return Document{}, fmt.Errorf("%w: %d", ErrVersion, v.Version)
	}
	var s envelope
	// The check sum would not cover what is unknown.
	if err := strict.Unmarshal(b, &s, strict.RejectUnknownMembers(true)); err != nil {
		return Document{}, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	sum, err := s.sum()
	if err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if sum != s.Check {
		return Document{}, fmt.Errorf("%w: manifest: wrong check sum", ErrDamaged)
	}
	d := Document{Version: s.Version, Key: s.Key, Bytes: s.Bytes, SHA256: s.SHA256, Parts: s.Parts, Sealed: s.Sealed}
	switch {
	case (s.Manifest == nil) == (len(s.Sealed) == 0):
		return Document{}, fmt.Errorf("%w: manifest: not exactly one description", ErrDamaged)
	case s.Manifest != nil:
		if err := strict.Unmarshal(s.Manifest, &d.Manifest); err != nil {
			return Document{}, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
		}
	}
	if err := d.validate(); err != nil {
		return Document{}, err
	}
	return d, nil
}

func (d Document) validate() error {
	damaged := func(what string) error { return fmt.Errorf("%w: manifest: %s", ErrDamaged, what) }
	if d.Version != documentVersion {
		return damaged("version")
	}
	if err := CheckKey(d.Key); err != nil {
		return damaged("key")
	}
	if d.Sealed == nil {
		if err := d.validateDescription(); err != nil {
			return err
		}
	}
	if !isSHA256(d.SHA256) || d.Bytes < 0 || len(d.Parts) > MaxParts {
		return damaged("sums")
	}
	rest := d.Bytes
	for _, p := range d.Parts {
		if p.Ref == "" || len(p.Ref) > MaxRef || p.Bytes < 0 || p.Bytes > rest || !isSHA256(p.SHA256) {
			return damaged("part")
		}
		rest -= p.Bytes
	}
	if rest != 0 {
		return damaged("parts do not add up")
	}
	return nil
}

// validateDescription holds the core's description against what is stored: one that was
// moved here from another export's manifest is noticed.
func (d Document) validateDescription() error {
	switch m := d.Manifest; {
	case m.Version != documentVersion:
		return fmt.Errorf("%w: manifest: version of the description", ErrDamaged)
	case m.Key != d.Key || m.Artifact == nil:
		return fmt.Errorf("%w: manifest: description", ErrDamaged)
	case m.Artifact.StoredBytes != d.Bytes || m.Artifact.SHA256 != d.SHA256:
		return fmt.Errorf("%w: manifest: description of other bytes", ErrDamaged)
	}
	return nil
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// Signer signs receipts. It is safe for concurrent use.
type Signer struct {
	keys    []ed25519.PrivateKey // the first signs
	id      string
	version string
}

// KeyFile returns the path of the receipt key in a data folder.
func KeyFile(dataDir string) string { return filepath.Join(dataDir, "keys", "receipt.pem") }

// Open returns a Signer with the keys of the setting RECEIPT_KEY or, if that is empty, with the key of
// the data folder, which is created if it is missing. version is that of the program.
func Open(setting secret.String, dataDir, version string) (*Signer, error) {
	text := []byte(setting.Reveal())
	if len(text) == 0 {
		var err error
		if text, err = secret.EnsureFile(KeyFile(dataDir), Generate); err != nil {
			return nil, fmt.Errorf("receipt key: %w", err)
		}
	}
	keys, err := ParsePrivate(text)
	if err != nil {
		return nil, fmt.Errorf("receipt key: %w", err)
	}
	public, _ := keys[0].Public().(ed25519.PublicKey)
	id, err := KeyID(public)
	return &Signer{keys, id, version}, err
}

// Public returns the public keys, that of the signing one first.
func (s *Signer) Public() []ed25519.PublicKey {
	var out []ed25519.PublicKey
	for _, key := range s.keys {
		public, _ := key.Public().(ed25519.PublicKey)
		out = append(out, public)
	}
	return out
}

// Export returns the receipt of a completed export that is stored under key.
func (s *Signer) Export(key string, out export.Outcome) (*export.Receipt, error) {
	return s.sign(ofExport(key, out, s.version))
}

// Verification is the result of a verification.
type Verification struct {
	export.ID
	Key                   string // in the storage
	Attempt               int
	SHA256, DumpSHA256    string
	StoredBytes           int64
	SizeBytes             int64
	Stream, Restored      Counts // in the dump, and in the scratch database
	Unchecked             int64  // statements and tables that could not be tried there
	ServerVersion         string
	StartedAt, FinishedAt time.Time
}

// Verified returns the receipt of a verification.
func (s *Signer) Verified(v Verification) (*export.Receipt, error) {
	return s.sign(Statement{
		Type: StatementType, PredicateType: VerificationType,
		Subject: []Subject{{Name: path.Base(v.Key), Digest: map[string]string{"sha256": v.SHA256}}},
		Predicate: Predicate{
			ProjectID: v.Project, RequestID: v.Request, Attempt: v.Attempt, SizeBytes: v.SizeBytes, StoredBytes: v.StoredBytes,
			Stream: v.Stream, Restored: &v.Restored, Unchecked: v.Unchecked, DumpSHA256: v.DumpSHA256,
			Versions:  Versions{PGCourier: s.version, Server: v.ServerVersion},
			StartedAt: v.StartedAt.UTC(), FinishedAt: v.FinishedAt.UTC(),
		},
	})
}

func (s *Signer) sign(statement Statement) (*export.Receipt, error) {
	payload, err := json.Marshal(statement)
	if err != nil {
		return nil, fmt.Errorf("write a receipt: %w", err)
	}
	b, err := sign(s.keys[0], payload)
	if err != nil {
		return nil, fmt.Errorf("sign a receipt: %w", err)
	}
	return Describe(b, s.id), nil
}

// Describe returns a receipt with its digest.
func Describe(envelope []byte, keyID string) *export.Receipt {
	sum := sha256.Sum256(envelope)
	return &export.Receipt{SHA256: hex.EncodeToString(sum[:]), KeyID: keyID, Envelope: envelope}
}

// Recognize returns a stored receipt in the form of Export and Verified, if one of the signer's keys
// has signed it.
func (s *Signer) Recognize(envelope []byte) (*export.Receipt, error) {
	_, id, err := Verify(envelope, s.Public()...)
	if err != nil {
		return nil, err
	}
	return Describe(envelope, id), nil
}

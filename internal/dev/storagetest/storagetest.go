// Package storagetest is the contract of storage drivers as tests: [Run] checks a driver against
// every rule of storage.Driver, and the storage.Repository above it against its guarantees.
// [Memory] is a destination without listing, for tests of the code above.
package storagetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// Destination is one fresh, empty destination, with functions to read and change its contents
// without the driver.
type Destination struct {
	// Driver is under test. Its MaxBlob is 0 or at least 2,048.
	Driver storage.Driver
	// Journal is the journal of a driver that cannot list; nil otherwise.
	Journal storage.Journal
	// PartSize is the driver's own part size in bytes, for exact-boundary tests. 0: none.
	PartSize int64
	// Reopen opens the same destination as another process would.
	Reopen func(t *testing.T) storage.Driver
	// Alter replaces the stored bytes of a blob.
	Alter func(t *testing.T, ref storage.Ref, data []byte)
	// Litter adds objects of other programs to the destination.
	Litter func(t *testing.T)
	// Remains returns all stored objects, including unfinished uploads, without litter and the index.
	Remains func(t *testing.T) []string
	// Crash leaves under key what a process leaves that was killed during a Put. nil: such a
	// destination keeps nothing.
	Crash func(t *testing.T, key string)
}

// Run tests a driver. fresh makes a new destination for each test and registers its end with
// t.Cleanup. flips is the number of random damages; the guarantee is 1,000.
func Run(t *testing.T, flips int, fresh func(t *testing.T) Destination) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Destination){
		"driver/round trip":          driverRoundTrip,
		"driver/failing body":        driverFailingBody,
		"driver/cancelled":           driverCancelled,
		"driver/taken name":          driverTakenName,
		"driver/delete":              driverDelete,
		"driver/foreign references":  driverForeign,
		"driver/concurrent puts":     driverConcurrent,
		"driver/racing puts":         driverRacing,
		"driver/names":               driverNames,
		"driver/sweep":               driverSweep,
		"driver/index":               driverIndex,
		"repository/round trip":      repositoryRoundTrip,
		"repository/failing stream":  repositoryFailingStream,
		"repository/mismatch":        repositoryMismatch,
		"repository/cancelled":       repositoryCancelled,
		"repository/concurrent puts": repositoryConcurrent,
		"repository/taken key":       repositoryTakenKey,
		"repository/probe":           repositoryProbe,
		"repository/bad keys":        repositoryBadKeys,
		"repository/remove":          repositoryRemove,
		"repository/failing driver":  repositoryFailingDriver,
		"repository/manifests":       repositoryManifests,
		"repository/exchanged":       repositoryExchanged,
		"repository/sealed":          repositorySealed,
		"repository/receipt":         repositoryReceipt,
		"repository/resumed":         repositoryResumed,
		"repository/expected":        repositoryExpected,
		"repository/damage": func(t *testing.T, d Destination) {
			repositoryDamage(t, d, flips)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

// Bytes returns n bytes that depend only on n and do not repeat soon.
func Bytes(n int64) []byte {
	b := make([]byte, n)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n)) //nolint:gosec // a length, never negative
	r := rand.NewChaCha8(seed)
	_, _ = r.Read(b) // never fails
	return b
}

// Describe returns the describe function of an export with these bytes.
func Describe(key string, data []byte) func() export.Manifest {
	sum := sha256.Sum256(data)
	at := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	return func() export.Manifest {
		return export.Manifest{Version: 1, Key: key, Outcome: export.Outcome{
			ID: export.ID{Project: "acme", Request: "req-1"}, State: export.Completed, Attempt: 1,
			StartedAt: at, FinishedAt: at.Add(time.Minute), Metadata: map[string]string{"ticket": "<42>"},
			Artifact: &export.Artifact{
				Format: export.SQL, Compression: seal.Zstd, Encryption: seal.Unencrypted,
				Schemas: []string{"acme"}, SizeBytes: 3 * int64(len(data)), StoredBytes: int64(len(data)),
				SHA256: hex.EncodeToString(sum[:]), CRC32C: seal.CRC32C(0, data), Tables: 3, Rows: 9,
			},
		}}
	}
}

// repository opens a Repository over the destination's driver, or over d.
func (dst Destination) repository(t *testing.T, d storage.Driver) *storage.Repository {
	t.Helper()
	if d == nil {
		d = dst.Driver
	}
	r, err := storage.New(storage.Config{Driver: d, Journal: dst.Journal})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// expectRemains fails unless exactly want objects are stored.
func (dst Destination) expectRemains(t *testing.T, want int) {
	t.Helper()
	if got := dst.Remains(t); len(got) != want {
		slices.Sort(got)
		t.Errorf("%d things are stored, want %d: %q", len(got), want, got)
	}
}

// sizes returns the lengths at which parts begin and end.
func (dst Destination) sizes() []int64 {
	sizes := []int64{0, 1, 1000}
	p := max(dst.PartSize, dst.Driver.Traits().MaxBlob)
	if p > 0 {
		sizes = append(sizes, p-1, p, p+1, 2*p-1, 2*p, 2*p+1, 3*p+7)
	}
	return sizes
}

// failing returns data and then err in place of io.EOF.
type failing struct {
	data []byte
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if len(f.data) == 0 {
		return 0, f.err
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

var errBroken = errors.New("the stream broke")

// failures are errors of streams that could be mistaken for an end.
var failures = map[string]error{
	"plain":          errBroken,
	"wrapped EOF":    fmt.Errorf("dump: %w", io.EOF),
	"unexpected EOF": io.ErrUnexpectedEOF,
}

func background(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
)

// uneven returns its bytes in pieces of any size, as a stream does.
type uneven struct {
	r   io.Reader
	rng *rand.Rand
}

func (u uneven) Read(p []byte) (int, error) { return u.r.Read(p[:1+u.rng.IntN(len(p))]) }

// Blobs of all lengths near the ends of blocks and of the device's own blocks are stored unchanged,
// past the cache or through it.
func TestBlobsOfEveryLengthAreWhole(t *testing.T) {
	t.Parallel()
	const block, align = 1 << 20, 4096
	for _, parent := range []string{t.TempDir(), memory(t)} {
		for _, size := range []int{
			0, 1, align, block - 1, block, block + 1, block + align, 2*block - align, 2 * block, 3*block + align - 1, 5 * block, 5*block + 7,
		} {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(parent), size), func(t *testing.T) {
				t.Parallel()
				dir, data := filepath.Join(parent, strconv.Itoa(size)), storagetest.Bytes(int64(size))
				r := repository(t, open(t, dir))
				body := uneven{bytes.NewReader(data), rand.New(rand.NewPCG(1, uint64(size)))}
				if _, err := r.Put(t.Context(), "acme/a.1.sql", body, storagetest.Describe("acme/a.1.sql", data)); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(filepath.Join(dir, "acme", "a.1.sql"))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes are in the file, %d were stored: %v", len(got), size, err)
				}
			})
		}
	}
}

// memory is a folder in a file system of another kind, if there is one.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pgcourier-") //nolint:usetesting // another file system
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A body that fails after several blocks is reported by its own error, and leaves nothing.
func TestABodyThatFailsLateLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, broken := t.TempDir(), errors.New("broken")
	r := repository(t, open(t, dir))
	data := storagetest.Bytes(7<<20 + 100)
	body := io.MultiReader(bytes.NewReader(data), failing{broken})
	if _, err := r.Put(t.Context(), "acme/a.1.sql", body, storagetest.Describe("acme/a.1.sql", data)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

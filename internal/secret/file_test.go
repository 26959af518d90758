package secret_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestProcessesThatMakeOneFileAtOnceHaveOneSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys", "link.key")
	var wg sync.WaitGroup
	got := make([][]byte, 16)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = secret.EnsureFile(path, func() ([]byte, error) { return []byte(rand.Text()), nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range got {
		if !bytes.Equal(b, got[0]) || len(b) == 0 {
			t.Fatalf("two secrets: %q", got)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.EnsureFile(path, nil); err == nil {
		t.Error("a file that others may read is accepted")
	}
}

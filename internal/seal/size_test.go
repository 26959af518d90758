package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// Values without repetitions are compressed by their letters, as gzip and zstd do at their fastest
// level: such columns are in most databases.
func TestSizesAreThoseOfGzipAndZstd(t *testing.T) {
	t.Parallel()
	random := rand.NewChaCha8([32]byte{1})
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b)
		return b
	}
	uuid := func() string {
		h := hex.EncodeToString(bytesOf(16))
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	row := map[string]func(i int) string{
		"uuid": func(int) string {
			return uuid() + "\t" + uuid() + "\t" + uuid() + fmt.Sprintf("\t0.%d", random.Uint64())
		},
		"bytea":  func(i int) string { return fmt.Sprintf("%d\t\\\\x%x", i, bytesOf(100_000)) },
		"base64": func(i int) string { return fmt.Sprintf("%d\t%s", i, base64.StdEncoding.EncodeToString(bytesOf(1200))) },
		"hex":    func(i int) string { return fmt.Sprintf("%d\t%x", i, bytesOf(32)) },
		"mixed": func(i int) string {
			return fmt.Sprintf("%d\t%s\t2026-01-%02d 10:00:00+00\tdelivered to the customer\t%x", i, uuid(), 1+i%28, bytesOf(8))
		},
	}
	plains := map[string][]byte{"rows": dump(100_000)}
	for kind, line := range row {
		var b bytes.Buffer
		for i := 0; b.Len() < 4<<20; i++ {
			b.WriteString(line(i) + "\n")
		}
		plains[kind] = b.Bytes()
	}
	for kind, plain := range plains {
		for c, tool := range map[seal.Compression]string{seal.Gzip: "gzip", seal.Zstd: "zstd"} {
			stream, err := seal.New(bytes.NewReader(plain), seal.Options{Compression: c})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(stream)
			if err = errors.Join(err, stream.Close()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(filter(t, b, tool, "-d", "-c"), plain) {
				t.Errorf("%s: %s -d returns another dump", kind, tool)
			}
			theirs := filter(t, plain, tool, "-1", "-c")
			ratio := float64(len(b)) / float64(len(theirs))
			t.Logf("%s: %s %.2f of the plain size, %.3f of %s -1", kind, c, float64(len(b))/float64(len(plain)), ratio, tool)
			if ratio > 1.05 {
				t.Errorf("%s: %s takes %.3f of the size of %s -1, want at most 1.05", kind, c, ratio, tool)
			}
		}
	}
}

// filter returns what a program makes of its input.
func filter(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

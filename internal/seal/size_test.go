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
	"strings"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// Values without repetitions are compressed by their letters, as gzip and zstd do at their fastest
// level: such columns are in most databases.
func TestSizesAreThoseOfGzipAndZstd(t *testing.T) {
	t.Parallel()
	for kind, plain := range plains() {
		if kind == "prose" {
			continue // it has matches
		}
		for c, tool := range map[seal.Compression]string{seal.Gzip: "gzip", seal.Zstd: "zstd"} {
			b := sealedAt(t, plain, c, "")
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

// A level that does more work leaves no more bytes, and every level is the format that gzip and zstd
// read. Random digits are the exception with zstd: its longer search takes short matches by chance.
func TestALevelOfMoreWorkLeavesNoMoreBytes(t *testing.T) {
	t.Parallel()
	for kind, plain := range plains() {
		plain = plain[:600<<10] // three blocks of gzip
		for c, tool := range map[seal.Compression]string{seal.Gzip: "gzip", seal.Zstd: "zstd"} {
			least := 0
			for _, level := range []seal.Level{seal.Fast, seal.Default, seal.Best} {
				b := sealedAt(t, plain, c, level)
				t.Logf("%s: %s %s %.4f", kind, c, level, float64(len(b))/float64(len(plain)))
				if c == seal.Zstd && level == seal.Best && kind != "prose" {
					least += least / 20 // kinds with random digits
				}
				if level != seal.Fast && len(b) > least {
					t.Errorf("%s: %s %s leaves %d bytes, the level before it %d", kind, c, level, len(b), least)
				}
				least = len(b)
				if !bytes.Equal(filter(t, b, tool, "-d", "-c"), plain) {
					t.Errorf("%s: %s -d returns another dump of level %s", kind, tool, level)
				}
			}
		}
	}
}

func TestTheDefaultLevelIsThatWithoutALevel(t *testing.T) {
	t.Parallel()
	for _, c := range compressions {
		if plain := dump(20_000); !bytes.Equal(sealedAt(t, plain, c, ""), sealedAt(t, plain, c, seal.Default)) {
			t.Errorf("%s: other bytes", c)
		}
	}
}

func TestAnUnknownLevelIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []seal.Compression{seal.Gzip, seal.Zstd} {
		if _, err := seal.New(bytes.NewReader(some), seal.Options{Compression: c, Level: "9"}); err == nil {
			t.Errorf("%s: accepted", c)
		}
	}
}

func sealedAt(t *testing.T, plain []byte, c seal.Compression, level seal.Level) []byte {
	t.Helper()
	stream, err := seal.New(bytes.NewReader(plain), seal.Options{Compression: c, Level: level})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(stream)
	if err = errors.Join(err, stream.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// plains are at least 4 MiB of each kind of row, the same in every run.
var plains = sync.OnceValue(func() map[string][]byte {
	words := strings.Fields("the of and account export schema each tenant is was it for order with customer his at by payment")
	type source struct{ *rand.ChaCha8 }
	bytesOf := func(s source, n int) []byte {
		b := make([]byte, n)
		_, _ = s.Read(b)
		return b
	}
	uuid := func(s source) string {
		h := hex.EncodeToString(bytesOf(s, 16))
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	word := func(s source) string { return words[s.Uint64()%uint64(len(words))] }
	plains := map[string][]byte{"rows": dump(100_000)}
	for kind, line := range map[string]func(s source, i int) string{
		"prose": func(s source, i int) string {
			return fmt.Sprintf(`%d	{"kind": "%s", "by": "%s", "seen": %t, "at": "2026-01-%02d"}	%s %s %s %s`,
				i, word(s), word(s), i%3 == 0, 1+i%28, word(s), word(s), word(s), word(s))
		},
		"uuid": func(s source, _ int) string {
			return uuid(s) + "\t" + uuid(s) + "\t" + uuid(s) + fmt.Sprintf("\t0.%d", s.Uint64())
		},
		"bytea": func(s source, i int) string { return fmt.Sprintf("%d\t\\\\x%x", i, bytesOf(s, 100_000)) },
		"base64": func(s source, i int) string {
			return fmt.Sprintf("%d\t%s", i, base64.StdEncoding.EncodeToString(bytesOf(s, 1200)))
		},
		"hex": func(s source, i int) string { return fmt.Sprintf("%d\t%x", i, bytesOf(s, 32)) },
		"mixed": func(s source, i int) string {
			return fmt.Sprintf("%d\t%s\t2026-01-%02d 10:00:00+00\tdelivered to the customer\t%x", i, uuid(s), 1+i%28, bytesOf(s, 8))
		},
	} {
		random := source{rand.NewChaCha8([32]byte{1})}
		var b bytes.Buffer
		for i := 0; b.Len() < 4<<20; i++ {
			b.WriteString(line(random, i) + "\n")
		}
		plains[kind] = b.Bytes()
	}
	return plains
})

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

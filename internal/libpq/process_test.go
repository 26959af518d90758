package libpq_test

import (
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	var tail libpq.Tail
	want := ""
	for i, n := range []int{0, 10, 5000, 5000, 1, 20000, 3, 8192, 7} {
		piece := strings.Repeat(string(rune('a'+i)), n)
		want += piece
		if m, err := tail.Write([]byte(piece)); m != n || err != nil {
			t.Fatalf("write = %d, %v", m, err)
		}
		if got := tail.String(); got != want[max(0, len(want)-8192):] {
			t.Fatalf("after %d pieces the tail is %d bytes, not the last of %d", i+1, len(got), len(want))
		}
	}
}

package libpq_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// A tool is a batch process, with no smaller share than its parent.
func TestAToolIsABatchProcess(t *testing.T) {
	t.Parallel()
	p, err := libpq.StartProcess(libpq.Command{Path: "/bin/sleep", Args: []string{"1000"}, KillDelay: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Terminate(time.Second)
	got, err := unix.SchedGetAttr(p.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Nice != own.Nice {
		t.Errorf("nice is %d, of the worker %d", got.Nice, own.Nice)
	}
	want := own.Policy
	if refused := libpq.MakeBatch(p.ID()); refused != nil {
		t.Logf("policies are refused here: %v", refused)
	} else if want == unix.SCHED_NORMAL {
		want = unix.SCHED_BATCH
	}
	if got.Policy != want {
		t.Errorf("the policy is %d, want %d", got.Policy, want)
	}
}

package e2e_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

// maxPeak is the limit of a worker's resident memory for any export.
const maxPeak = 96 << 20

func TestMemoryStaysBoundedAndNothingIsSpooled(t *testing.T) {
	t.Parallel()
	want := int64(maxPeak) // a worker that kept all of it would need more; MEMORY_TEST_BYTES is another size
	if v := os.Getenv("MEMORY_TEST_BYTES"); v != "" {
		var err error
		if want, err = strconv.ParseInt(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	p := setup(t)
	// More than 1,000 bytes a row, which compress about as text does.
	p.exec(`CREATE TABLE tenant_globex.large AS SELECT n, repeat(md5(n::text) || ' ' || md5((n * 3)::text) || md5((n * 5)::text) || ' ', 10) || md5((n * 7)::text) AS pad
		FROM generate_series(1, ` + strconv.FormatInt(want/1000+1, 10) + `) n`)
	p.holdable()
	for _, r := range []events.Requested{
		{Format: events.FormatSQL, Compression: events.CompressionGzip},
		{Format: events.FormatCustom, Compression: events.CompressionZstd},
		{Format: events.FormatTar, Compression: events.CompressionNone},
		{Format: events.FormatDirectory, Compression: events.CompressionZstd, Jobs: 2},
	} {
		r.ProjectID, r.RequestID = "globex", string(r.Format)
		w := p.startBinary(built(t), "CONCURRENCY=1", "LOCK_TIMEOUT=5m")
		idle := w.peak()
		release := p.hold() // files that are open in the middle of the dump are seen, however fast the rest is
		p.request(r)
		look, seen := p.watchFiles(w)
		p.copying()
		look()
		release()
		c := p.completed("globex", r.RequestID)
		peak := w.peak()
		ours, spool := seen()
		t.Logf("%s, %s: %d MiB dumped, peak %.1f MiB (idle %.1f), pg_dump's own files: %q",
			r.Format, r.Compression, c.SizeBytes>>20, float64(peak)/(1<<20), float64(idle)/(1<<20), spool)
		if c.SizeBytes < want {
			t.Errorf("%s: the dump has %d bytes, want at least %d", r.Format, c.SizeBytes, want)
		}
		if peak > maxPeak {
			t.Errorf("%s: the worker had %d MiB resident, want at most %d", r.Format, peak>>20, maxPeak>>20)
		}
		if len(ours) == 0 {
			t.Errorf("%s: the worker was never seen to have its staging file open", r.Format)
		}
		directory := r.Format == events.FormatDirectory
		for _, f := range ours {
			spooled := directory && strings.Contains(f, "/spool/pgcourier-")
			if !spooled && !strings.HasPrefix(f, p.storage+"/") {
				t.Errorf("%s: the worker had %s open", r.Format, f)
			}
		}
		// Only tar and directory need a spool: pg_dump's own, one table at a time, unlinked in
		// /tmp, and the worker's.
		if spooled := r.Format == events.FormatTar || directory; spooled != (len(spool) > 0) {
			t.Errorf("%s: pg_dump spooled to %q", r.Format, spool)
		}
		w.term()
		w.await()
	}
}

// watchFiles records the regular files that the worker and its pg_dump have open for writing, from
// time to time and whenever look is called, until seen is called.
func (p *platform) watchFiles(w *worker) (look func(), seen func() (ours, spool []string)) {
	var mu sync.Mutex
	var ours, spool []string
	// They inherit the files that the tests were started with, such as a lock file.
	handed := writtenFiles(os.Getppid())
	kept := func(name string) bool { return slices.Contains(handed, name) }
	look = func() {
		mu.Lock()
		defer mu.Unlock()
		ours = append(ours, writtenFiles(w.pid())...)
		for _, pid := range p.dumps() {
			spool = append(spool, writtenFiles(pid)...)
		}
		slices.Sort(ours)
		slices.Sort(spool)
		ours, spool = slices.Compact(ours), slices.Compact(spool)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond) // each look reads every process of the machine
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				look()
			}
		}
	}()
	return look, sync.OnceValues(func() ([]string, []string) {
		close(stop)
		<-done
		return slices.DeleteFunc(ours, kept), slices.DeleteFunc(spool, kept)
	})
}

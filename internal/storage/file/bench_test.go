package file_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// paced returns size bytes at the pace of a dump, and records when they ended.
type paced struct {
	block []byte
	left  int64
	rate  float64 // bytes a second
	from  time.Time
	given int64
	ended time.Time
}

func (p *paced) Read(b []byte) (int, error) {
	if p.left == 0 {
		p.ended = time.Now()
		return 0, io.EOF
	}
	time.Sleep(time.Until(p.from.Add(time.Duration(float64(p.given) / p.rate * 1e9))))
	n := copy(b, p.block[:min(int64(len(p.block)), p.left)])
	p.left -= int64(n)
	p.given += int64(n)
	return n, nil
}

// BenchmarkAfterTheStream stores 512 MiB that arrive at 200 MB/s and measures the work after their
// end: the sync, the read-back and the manifest.
func BenchmarkAfterTheStream(b *testing.B) { benchmarkPut(b, 200e6) }

// BenchmarkAtOnce stores 512 MiB that are available at once, like the last table of a parallel
// dump.
func BenchmarkAtOnce(b *testing.B) { benchmarkPut(b, math.Inf(1)) }

func benchmarkPut(b *testing.B, rate float64) {
	const size = 512 << 20
	block := storagetest.Bytes(64 << 10)
	hash, crc := sha256.New(), uint32(0)
	for range size / len(block) {
		hash.Write(block)
		crc = seal.CRC32C(crc, block)
	}
	driver, err := file.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = driver.Close() }()
	store, err := storage.New(storage.Config{Driver: driver})
	if err != nil {
		b.Fatal(err)
	}
	var after time.Duration
	rounds := 0
	b.SetBytes(size)
	for b.Loop() {
		body := &paced{block: block, left: size, rate: rate, from: time.Now()}
		_, err := store.Put(b.Context(), "acme/r.1.sql", body, func() export.Manifest {
			m := storagetest.Describe("acme/r.1.sql", nil)()
			m.Artifact.StoredBytes, m.Artifact.SHA256, m.Artifact.CRC32C = size, hex.EncodeToString(hash.Sum(nil)), crc
			return m
		})
		if err != nil {
			b.Fatal(err)
		}
		after += time.Since(body.ended)
		rounds++
		b.StopTimer()
		if err := store.Delete(b.Context(), "acme/r.1.sql"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(after.Seconds()*1000/float64(rounds), "after-ms")
}

package roundtrip_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// processor is how long this process has computed, in its own code and in the kernel for it.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// stage measures one stage alone over the dump: its speed by the wall clock, and what a
// second of one core does, which holds on a busy machine too. stored, if not 0, is what is
// left of the dump.
func stage(b *testing.B, dump []byte, run func() (stored int64, err error)) {
	b.Helper()
	b.SetBytes(int64(len(dump)))
	before, rounds := processor(b), 0
	var stored int64
	for b.Loop() {
		var err error
		if stored, err = run(); err != nil {
			b.Fatal(err)
		}
		rounds++
	}
	spent := processor(b) - before
	b.ReportMetric(float64(rounds*len(dump))/1e6/spent.Seconds(), "MB/core-s")
	if stored > 0 {
		b.ReportMetric(float64(stored)/float64(len(dump)), "ratio")
	}
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// feedIn writes the dump in the pieces that the stream uses.
func feedIn(w io.Writer, dump []byte) error {
	for len(dump) > 0 {
		n := min(len(dump), 64<<10)
		if _, err := w.Write(dump[:n]); err != nil {
			return err
		}
		dump = dump[n:]
	}
	return nil
}

// BenchmarkStages measures each stage of the stream alone; see docs/benchmarks.md.
func BenchmarkStages(b *testing.B) {
	dump := realisticDump()
	b.Run("scan", func(b *testing.B) {
		stage(b, dump, func() (int64, error) {
			_, err := archive.Check(bytes.NewReader(dump), export.SQL)
			return 0, err
		})
	})
	b.Run("sha256", func(b *testing.B) {
		stage(b, dump, func() (int64, error) { return 0, feedIn(sha256.New(), dump) })
	})
	b.Run("age", func(b *testing.B) {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			b.Fatal(err)
		}
		to := id.Recipient()
		stage(b, dump, func() (int64, error) {
			var n counter
			w, err := age.Encrypt(&n, to)
			if err == nil {
				err = feedIn(w, dump)
			}
			if err == nil {
				err = w.Close()
			}
			return int64(n), err
		})
	})
	b.Run("write", func(b *testing.B) { benchWrite(b, dump) })
	for _, size := range []int{64 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("pipe/%dKiB", size>>10), func(b *testing.B) { benchPipe(b, dump, size) })
	}
	benchGzip(b, dump)
	benchZstd(b, dump)
}

func benchGzip(b *testing.B, dump []byte) {
	b.Helper()
	for _, threads := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("gzip/threads=%d", threads), func(b *testing.B) {
			stage(b, dump, func() (int64, error) {
				var n counter
				s, err := seal.New(bytes.NewReader(dump), seal.Options{Compression: seal.Gzip, Concurrency: threads})
				if err == nil {
					_, err = io.Copy(&n, s)
					err = errors.Join(err, s.Close())
				}
				return int64(n), err
			})
		})
	}
}

func benchZstd(b *testing.B, dump []byte) {
	b.Helper()
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault} {
		for _, window := range []int{128 << 10, 256 << 10, 1 << 20} {
			for _, threads := range []int{1, 2, 4} {
				b.Run(fmt.Sprintf("zstd/level=%s/window=%dKiB/threads=%d", level, window>>10, threads), func(b *testing.B) {
					stage(b, dump, func() (int64, error) {
						var n counter
						w, err := zstd.NewWriter(&n, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(threads),
							zstd.WithWindowSize(window), zstd.WithConcurrentBlocks(true))
						if err == nil {
							err = feedIn(w, dump)
						}
						if err == nil {
							err = w.Close()
						}
						return int64(n), err
					})
				})
			}
		}
	}
}

// benchWrite is the folder's part: into the page cache, without the device.
func benchWrite(b *testing.B, dump []byte) {
	b.Helper()
	name := filepath.Join(b.TempDir(), "out")
	stage(b, dump, func() (int64, error) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err == nil {
			err = feedIn(f, dump)
		}
		if err == nil {
			err = f.Close()
		}
		return 0, err
	})
}

// benchPipe is pg_dump's pipe: written 4.6 KB at a time, read as the stream reads.
func benchPipe(b *testing.B, dump []byte, size int) {
	b.Helper()
	stage(b, dump, func() (int64, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		raw, err := w.SyscallConn()
		if err == nil {
			var refused error
			if err = raw.Control(func(fd uintptr) { _, refused = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) }); err == nil {
				err = refused
			}
		}
		if err != nil {
			return 0, err
		}
		go func() {
			const pgDumpWrites = 4600
			for rest := dump; len(rest) > 0; {
				n := min(len(rest), pgDumpWrites)
				if _, err := w.Write(rest[:n]); err != nil {
					return // the reader sees too little
				}
				rest = rest[n:]
			}
			_ = w.Close()
		}()
		defer func() { _ = r.Close() }()
		buf, read := make([]byte, 256<<10), 0
		for read < len(dump) {
			n, err := r.Read(buf)
			if read += n; err != nil && read < len(dump) {
				return 0, err
			}
		}
		return 0, nil
	})
}

// realisticDump is a script of about 32 MiB: rows as pgbench has them, text and jsonb.
func realisticDump() []byte {
	var d bytes.Buffer
	d.WriteString("--\n-- PostgreSQL database dump\n--\n\n")
	for i, row := range []func(i int) string{
		func(i int) string { return fmt.Sprintf("%d\t%d\t0\t%84s\n", i, i/100000+1, "") },
		func(i int) string {
			return fmt.Sprintf("%d\t%x\tsome text that is said again some text that is said again %x\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)}), i*2654435761)
		},
		func(i int) string {
			return fmt.Sprintf("%d\t{\"id\": %d, \"name\": \"%x\", \"tags\": [\"a\", \"b\", %d], \"score\": %d.%d}\n", i, i, sha256.Sum224([]byte{byte(i), byte(i >> 8), byte(i >> 16)}), i%100, i%7919, i%31)
		},
	} {
		fmt.Fprintf(&d, "COPY s.t%d (a) FROM stdin;\n", i)
		for n, from := 0, d.Len(); d.Len() < from+11<<20; n++ {
			d.WriteString(row(n))
		}
		d.WriteString("\\.\n\n\n")
	}
	d.WriteString("--\n-- PostgreSQL database dump complete\n--\n\n")
	return d.Bytes()
}

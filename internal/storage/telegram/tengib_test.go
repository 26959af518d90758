package telegram_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// BenchmarkTenGiB stores 10 GiB in parts of 19 MiB, each read back as it is stored, and
// reads all of it again as a process that knows nothing but the chat. The server keeps the
// parts on disk (10 GiB of temporary files) and runs in this process, so the peak of memory
// is that of both. It fails above 96 MiB, or when it takes 15 % longer than the pace of 20
// messages a minute allows. Run it with -benchtime 1x: `make telegram-10g` does.
func BenchmarkTenGiB(b *testing.B) {
	const (
		size       = int64(10 << 30)
		mostMemory = 96 << 20
		perMinute  = 20
	)
	for b.Loop() {
		clock := telegramtest.NewClock(epoch)
		server, err := telegramtest.Start(telegramtest.Config{Clock: clock, Blobs: telegramtest.Dir(b.TempDir())})
		if err != nil {
			b.Fatal(err)
		}
		server.AddChat(telegramtest.Chat{ID: channel, Type: "channel"})
		token := server.AddBot("courier")
		server.SetMember(channel, token, telegramtest.Admin())
		open := func() *storage.Repository {
			c, err := telegram.NewClient(telegram.ClientConfig{Token: export.Secret(token), BaseURL: server.URL(), Clock: clock})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = c.Close() })
			d, err := telegram.New(telegram.Config{Client: c, Chat: channel})
			if err != nil {
				b.Fatal(err)
			}
			r, err := storage.New(storage.Config{Driver: d, Journal: &storage.MemoryJournal{}})
			if err != nil {
				b.Fatal(err)
			}
			return r
		}
		whole := sha256.New()
		crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		stream := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{10}), size), io.MultiWriter(whole, crc))
		describe := func() export.Manifest {
			m := storagetest.Describe(key, nil)()
			m.Artifact.StoredBytes, m.Artifact.SHA256, m.Artifact.CRC32C = size, hex.EncodeToString(whole.Sum(nil)), crc.Sum32()
			return m
		}
		if _, err := open().Put(b.Context(), key, stream, describe); err != nil {
			b.Fatal(err)
		}
		took := clock.Now().Sub(epoch)
		r, err := open().Open(b.Context(), key)
		if err != nil {
			b.Fatal(err)
		}
		back := sha256.New()
		n, err := io.CopyBuffer(struct{ io.Writer }{back}, r, make([]byte, 256<<10))
		if err = errors.Join(err, r.Close(), server.Close()); err != nil || n != size || string(back.Sum(nil)) != string(whole.Sum(nil)) {
			b.Fatalf("read %d bytes back, or others: %v", n, err)
		}
		if s := server.Stats(); s.Flooded != 0 {
			b.Errorf("%d answers to wait", s.Flooded)
		}
		documents := server.Stats().Requests["sendDocument"]
		if allowed := float64(documents) / perMinute; took.Minutes() > 1.15*allowed {
			b.Errorf("took %.1f virtual minutes, the pace allows %.1f", took.Minutes(), allowed)
		}
		if p := peak(b); p > mostMemory {
			b.Errorf("the peak of memory is %d bytes", p)
		}
		b.ReportMetric(took.Minutes(), "virtual-minutes")
		b.ReportMetric(float64(peak(b))/(1<<20), "peak-MiB")
		b.ReportMetric(float64(documents), "documents")
	}
}

// peak is the most memory that this process ever had, in bytes.
func peak(b *testing.B) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				b.Fatal(fmt.Errorf("read the peak: %w", err))
			}
			return n << 10
		}
	}
	b.Fatal("the kernel does not tell the peak")
	return 0
}

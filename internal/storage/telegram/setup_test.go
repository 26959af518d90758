package telegram_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestMain(m *testing.M) {
	// A net/http server waits for half a second after it refused a request's body.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const (
	channel = int64(-1001234567890)
	group   = int64(-987654)
	private = int64(4242)
)

// bench is a test server with three chats and a bot that may do everything in them.
type bench struct {
	*telegramtest.Server
	clock  *telegramtest.Clock
	token  string
	client *telegram.Client
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func setup(t *testing.T) *bench {
	t.Helper()
	clock := telegramtest.NewClock(epoch)
	server, err := telegramtest.Start(telegramtest.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{Server: server, clock: clock}
	for _, c := range []telegramtest.Chat{
		{ID: channel, Type: "channel", Title: "backups"},
		{ID: group, Type: "supergroup", Title: "group"},
		{ID: private, Type: "private"},
	} {
		server.AddChat(c)
	}
	b.token = b.addBot("courier")
	b.client = b.newClient(t, telegram.ClientConfig{})
	return b
}

// addBot adds a bot with all rights in all chats.
func (b *bench) addBot(name string) string {
	token := b.AddBot(name)
	for _, chat := range []int64{channel, group, private} {
		b.SetMember(chat, token, telegramtest.Admin())
	}
	return token
}

// newClient fills in missing fields: the server, its clock and the first bot.
func (b *bench) newClient(t *testing.T, cfg telegram.ClientConfig) *telegram.Client {
	t.Helper()
	if cfg.Token == "" {
		cfg.Token = export.Secret(b.token)
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = b.URL()
	}
	if cfg.Clock == nil {
		cfg.Clock = b.clock
	}
	c, err := telegram.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (b *bench) driver(t *testing.T, c *telegram.Client, chat int64) *telegram.Driver {
	t.Helper()
	d, err := telegram.New(telegram.Config{Client: c, Chat: chat})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func exportSecret(token string) export.Secret { return export.Secret(token) }

// random returns n reproducible bytes.
func random(n int) []byte {
	var seed [32]byte
	copy(seed[:], "telegram")
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

func upload(data []byte) telegram.Upload {
	return telegram.Upload{Name: "part.pgc", Caption: "a part", Body: bytes.NewReader(data), Size: int64(len(data))}
}

func part(key string, number int, data []byte) storage.Blob {
	return storage.Blob{
		Name: storage.Name{Key: key, Part: number}, Size: int64(len(data)),
		Body: bytes.NewReader(data), SHA256: sha256.Sum256(data),
	}
}

// put stores one part and fails the test if that fails.
func put(t *testing.T, d *telegram.Driver, key string, number int, data []byte) storage.Ref {
	t.Helper()
	stored, err := d.Put(t.Context(), part(key, number, data))
	if err != nil {
		t.Fatal(err)
	}
	return stored.Ref
}

// fetch reads a blob to its end.
func fetch(ctx context.Context, d *telegram.Driver, ref storage.Ref) ([]byte, error) {
	r, err := d.Open(ctx, ref, 0)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return data, err
}

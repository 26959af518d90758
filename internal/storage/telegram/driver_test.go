package telegram_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

const key = "acme/request-17.1.sql.zst.age"

func TestPartIsStoredWithItsNameAndReadBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	data := random(1 << 20)
	last := part(key, 3, data)
	last.Parts = 3
	got, err := d.Put(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verified {
		t.Error("Telegram confirms no hash, so the blob is not verified")
	}
	if len(got.Ref) > storage.MaxRef {
		t.Errorf("the reference has %d bytes", len(got.Ref))
	}
	m := b.Messages(channel)[0]
	want := "request-17-" + telegram.KeyHash(key) + ".part-00003-of-00003.pgc"
	if m.Name != want {
		t.Errorf("the file is called %q, want %q", m.Name, want)
	}
	if want := "pgcourier\nid: request-17\npart: 3 of 3"; m.Caption != want {
		t.Errorf("the caption is %q, want %q", m.Caption, want)
	}
	if m.SHA256 != sha256.Sum256(data) {
		t.Error("the server holds other bytes")
	}
	back, err := fetch(t.Context(), d, got.Ref)
	if err != nil || !bytes.Equal(back, data) {
		t.Errorf("read %d bytes back, want %d: %v", len(back), len(data), err)
	}
	if uri := d.URI(key, got.Ref); uri != "telegram://-1001234567890/"+key+"?message=1" {
		t.Errorf("the URI is %q", uri)
	}
}

func TestPutRefusesWhatCouldNotBeReadBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d, err := telegram.New(telegram.Config{Client: b.client, Chat: channel, PartSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		blob storage.Blob
		want error
	}{
		"too large":          {part(key, 1, random(101)), nil},
		"too large, unknown": {storage.Blob{Name: storage.Name{Key: key}, Size: -1, Body: strings.NewReader(strings.Repeat("a", 101))}, nil},
		"empty":              {part(key, 1, nil), nil},
		"unsafe key":         {part("../x", 1, random(1)), storage.ErrBadKey},
		"failing":            {storage.Blob{Name: storage.Name{Key: key}, Size: 10, Body: iotest.ErrReader(errBody)}, errBody},
		"ends early":         {storage.Blob{Name: storage.Name{Key: key}, Size: 10, Body: iotest.OneByteReader(strings.NewReader("abc"))}, io.ErrUnexpectedEOF},
	}
	for name, tt := range tests {
		if _, err := d.Put(t.Context(), tt.blob); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if n := len(b.Messages(channel)); n != 0 {
		t.Errorf("%d messages are visible", n)
	}
	exact := part(key, 1, random(100))
	if _, err := d.Put(t.Context(), exact); err != nil {
		t.Errorf("exactly a part: %v", err)
	}
	unknown := storage.Blob{Name: storage.Name{Key: key}, Size: -1, Body: iotest.OneByteReader(strings.NewReader("abc"))}
	if _, err := d.Put(t.Context(), unknown); err != nil {
		t.Errorf("a small blob of unknown size: %v", err)
	}
}

func TestPartSizesAreBounded(t *testing.T) {
	t.Parallel()
	cloud, err := telegram.NewClient(telegram.ClientConfig{Token: "123:ABCDEFGHIJKLMNOPQRSTUVWXYZ"})
	if err != nil {
		t.Fatal(err)
	}
	local, err := telegram.NewClient(telegram.ClientConfig{Token: "123:ABCDEFGHIJKLMNOPQRSTUVWXYZ", BaseURL: "http://localhost:8081"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		client *telegram.Client
		size   int64
		ok     bool
	}{
		{cloud, 0, true},
		{cloud, telegram.MaxCloudPart, true},
		{cloud, telegram.MaxCloudPart + 1, false},
		{cloud, -1, false},
		{local, telegram.MaxLocalPart, true},
		{local, telegram.MaxLocalPart + 1, false},
		{nil, 0, false},
	}
	for _, tt := range tests {
		d, err := telegram.New(telegram.Config{Client: tt.client, Chat: 1, PartSize: tt.size})
		if (err == nil) != tt.ok {
			t.Errorf("%v, %d bytes: %v", tt.client, tt.size, err)
		}
		if err == nil && tt.size == 0 && d.Traits().MaxBlob != telegram.DefaultPartSize {
			t.Errorf("the default part is %d bytes", d.Traits().MaxBlob)
		}
	}
	if _, err := telegram.New(telegram.Config{Client: cloud}); err == nil {
		t.Error("no chat: accepted")
	}
}

func TestDamagedBytesReachTheCheck(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	data := random(5000)
	ref := put(t, d, key, 1, data)
	b.Inject(telegramtest.Fault{Kind: telegramtest.Flip, Method: "download", After: 77})
	got, err := fetch(t.Context(), d, ref)
	if err != nil {
		t.Fatal(err)
	}
	if got[77] != data[77]^1 || !bytes.Equal(got[:77], data[:77]) || !bytes.Equal(got[78:], data[78:]) {
		t.Error("want one flipped bit on the wire")
	}
	if !b.FlipBit(channel, 1, 4999) {
		t.Fatal("no such byte")
	}
	if got, err = fetch(t.Context(), d, ref); err != nil || got[4999] != data[4999]^1 {
		t.Errorf("want one flipped bit in storage: %v", err)
	}
}

func TestFaultsAreUnavailable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(*bench)
		hint    string
		refused bool // an operator has to act
		fetched bool // a file id is of use without the chat
	}{
		"revoked":   {func(b *bench) { b.Revoke(b.token) }, "revoked", true, false},
		"kicked":    {func(b *bench) { b.SetMember(channel, b.token, telegramtest.Member{Status: "kicked"}) }, "removed", true, true},
		"chat gone": {func(b *bench) { b.SetMember(channel, b.token, telegramtest.Member{}) }, "no such chat", true, true},
		"413":       {func(b *bench) { b.Inject(telegramtest.Fault{Kind: telegramtest.EarlyTooLarge, Times: -1}) }, "part_size", true, false},
		"502":       {func(b *bench) { b.Inject(telegramtest.Fault{Kind: telegramtest.BadGateway, Times: -1}) }, "502", false, false},
		"resets":    {func(b *bench) { b.Inject(telegramtest.Fault{Kind: telegramtest.Reset, Times: -1}) }, "6 attempts", false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			d := b.driver(t, b.client, channel)
			ref := put(t, d, key, 1, random(10))
			tt.prepare(b)
			_, perr := d.Put(t.Context(), part(key, 2, random(10)))
			data, oerr := fetch(t.Context(), d, ref)
			if tt.fetched {
				if oerr != nil || !bytes.Equal(data, random(10)) {
					t.Errorf("open: got %q, %v", data, oerr)
				}
			}
			_, derr := d.Delete(t.Context(), ref)
			for what, err := range map[string]error{"put": perr, "open": oerr, "delete": derr, "index": d.SetIndex(t.Context(), []byte("x")), "check": d.Check(t.Context())} {
				if tt.fetched && what == "open" {
					continue
				}
				if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrRefused) != tt.refused || !strings.Contains(err.Error(), tt.hint) {
					t.Errorf("%s: got %v, want it unavailable (refused: %t) with %q", what, err, tt.refused, tt.hint)
				}
			}
		})
	}
}

// A message with an unread answer could never be deleted.
func TestPutWaitsForTheAnswerToWhatWasSent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		grace    time.Duration
		answered bool
	}{
		"it comes":  {time.Hour, true},
		"it is not": {time.Millisecond, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			gate := make(chan struct{})
			b.Inject(telegramtest.Fault{Kind: telegramtest.Late, Method: "sendDocument", Gate: gate})
			d := b.driver(t, b.newClient(t, telegram.ClientConfig{ReplyGrace: tt.grace}), channel)
			ctx, cancel := context.WithCancel(t.Context())
			type result struct {
				stored storage.Stored
				err    error
			}
			results := make(chan result)
			go func() {
				stored, err := d.Put(ctx, part(key, 1, random(100<<10)))
				results <- result{stored, err}
			}()
			waitFor(t, func() bool { return len(b.Messages(channel)) == 1 })
			cancel()
			if !tt.answered {
				if r := <-results; !errors.Is(r.err, context.Canceled) {
					t.Errorf("got %v", r.err)
				}
				return
			}
			close(gate)
			r := <-results
			if r.err != nil {
				t.Fatal(r.err)
			}
			if got, err := d.Delete(t.Context(), r.stored.Ref); err != nil || got != storage.Deleted {
				t.Errorf("delete: %v, %v", got, err)
			}
		})
	}
}

func TestPutEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Put(ctx, part(key, 1, random(10))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(b.Messages(channel)) != 0 {
		t.Error("something is visible")
	}
}

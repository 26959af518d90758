package telegram_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// A destination URL and a token make a driver. Here the Bot API is a test server.
func Example() {
	ctx := context.Background()
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	token := server.AddBot("courier")
	server.AddChat(telegramtest.Chat{ID: -1001234567890, Type: "channel"})
	server.SetMember(-1001234567890, token, telegramtest.Admin())

	location, err := telegram.ParseLocation("telegram://-1001234567890?part_size=19MiB&api=" + server.URL())
	if err != nil {
		log.Fatal(err)
	}
	client, err := telegram.NewClient(telegram.ClientConfig{
		Token: export.Secret(token), BaseURL: location.API, LocalDir: location.LocalDir,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	driver, err := telegram.New(telegram.Config{Client: client, Chat: location.Chat, PartSize: location.PartSize})
	if err != nil {
		log.Fatal(err)
	}
	if err := driver.Check(ctx); err != nil {
		log.Fatal(err)
	}
	data := []byte("the first part")
	stored, err := driver.Put(ctx, storage.Blob{
		Name: storage.Name{Key: "acme/request-1.1.sql", Part: 1},
		Size: int64(len(data)), Body: bytes.NewReader(data), SHA256: sha256.Sum256(data),
	})
	if err != nil {
		log.Fatal(err)
	}
	part, err := driver.Open(ctx, stored.Ref, 4)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = part.Close() }()
	text, err := io.ReadAll(part)
	if err != nil {
		log.Fatal(err)
	}
	deletion, err := driver.Delete(ctx, stored.Ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text), deletion)
	// Output: first part deleted
}

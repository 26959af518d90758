//go:build demoservers

package demo

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"filippo.io/age"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/dev/s3test"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/term"
)

// servers are the storages on test servers that `make demo STORAGE=s3|telegram` shows.
func servers() map[string]openServer {
	return map[string]openServer{"s3": openS3, "telegram": openTelegram}
}

// chat is private, where a bot may send a message a second: groups are slower.
const chat = 4242

// openS3 starts gofakes3, which keeps everything in memory.
func openS3(d *story, c *config.Config) error {
	server, err := s3test.Start("exports")
	if err != nil {
		return err
	}
	d.storage.close = server.Close
	d.storage.keys = credentials.NewStaticV4("demo", "demo-secret", "")
	c.Storage = []string{server.Storage("exports")}
	d.tell("storage s3://exports at %s", server.URL())
	d.tell("THIS IS A TEST SERVER (gofakes3) in this process: what it holds is in memory and goes with it")
	return nil
}

// openTelegram starts the Telegram test server with one bot in one chat. The exports are
// encrypted to an identity that is made here and that the worker does not have.
func openTelegram(d *story, c *config.Config) error {
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		return err
	}
	d.storage.close = server.Close
	server.AddChat(telegramtest.Chat{ID: chat, Type: "private"})
	token := server.AddBot("courier")
	server.SetMember(chat, token, telegramtest.Admin())
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return errors.Join(err, server.Close())
	}
	d.storage.identities = []age.Identity{identity}
	d.storage.showChat = func() {
		for _, m := range server.Messages(chat) {
			if m.Name != "" {
				d.tell("%-55s %10s  %s", m.Name, term.Size(m.Size), strings.ReplaceAll(m.Caption, "\n", ", "))
			}
		}
	}
	c.Storage = []string{fmt.Sprintf("telegram://%d?api=%s", chat, url.QueryEscape(server.URL()))}
	c.TelegramToken, c.AgeRecipients = secret.String(token), []string{identity.Recipient().String()}
	d.tell("storage telegram://%d at %s", chat, server.URL())
	d.tell("THIS IS A TEST SERVER in this process, with Telegram's limits and pace: nothing is sent to Telegram")
	d.tell("encrypted to %s; the worker has no identity to read it with", identity.Recipient())
	return nil
}

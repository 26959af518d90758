//go:build demoservers

package main

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

// demoServers are the storages on test servers that `make demo STORAGE=s3|telegram` shows.
func demoServers() map[string]openDemoServer {
	return map[string]openDemoServer{"s3": openDemoS3, "telegram": openDemoTelegram}
}

// demoChat is private, where a bot may send a message a second: groups are slower.
const demoChat = 4242

// openDemoS3 starts gofakes3, which keeps everything in memory.
func openDemoS3(d *demo, c *config.Config) error {
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

// openDemoTelegram starts the Telegram test server with one bot in one chat. The exports are
// encrypted to an identity that is made here and that the worker does not have.
func openDemoTelegram(d *demo, c *config.Config) error {
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		return err
	}
	d.storage.close = server.Close
	server.AddChat(telegramtest.Chat{ID: demoChat, Type: "private"})
	token := server.AddBot("courier")
	server.SetMember(demoChat, token, telegramtest.Admin())
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return errors.Join(err, server.Close())
	}
	d.storage.identities = []age.Identity{identity}
	d.storage.showChat = func() {
		for _, m := range server.Messages(demoChat) {
			if m.Name != "" {
				d.tell("%-55s %10s  %s", m.Name, term.Size(m.Size), strings.ReplaceAll(m.Caption, "\n", ", "))
			}
		}
	}
	c.Storage = []string{fmt.Sprintf("telegram://%d?api=%s", demoChat, url.QueryEscape(server.URL()))}
	c.TelegramToken, c.AgeRecipients = secret.String(token), []string{identity.Recipient().String()}
	d.tell("storage telegram://%d at %s", demoChat, server.URL())
	d.tell("THIS IS A TEST SERVER in this process, with Telegram's limits and pace: nothing is sent to Telegram")
	d.tell("encrypted to %s; the worker has no identity to read it with", identity.Recipient())
	return nil
}

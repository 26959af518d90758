package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strings"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/dev/s3test"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
)

// chat is a private chat, in which a bot may send one message a second; groups are slower.
const chat = 4242

// serveFlag is the argument with which this program is a test server.
const serveFlag = "-serve "

// serve runs one test server in this process until ctx ends, and prints the worker's
// settings for it on one line.
func serve(ctx context.Context, kind string, stdout io.Writer) error {
	switch dir, files := strings.CutPrefix(kind, filesKind); {
	case files:
		return serveFiles(ctx, dir, stdout)
	case kind == "s3":
		return serveS3(ctx, stdout)
	case kind == "telegram":
		return serveTelegram(ctx, stdout)
	}
	return errUsage
}

func serveS3(ctx context.Context, stdout io.Writer) error {
	server, err := s3test.Start("exports")
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "STORAGE=%s\n", server.Storage("exports"))
	<-ctx.Done()
	return server.Close()
}

func serveTelegram(ctx context.Context, stdout io.Writer) error {
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		return err
	}
	server.AddChat(telegramtest.Chat{ID: chat, Type: "private"})
	token := server.AddBot("courier")
	server.SetMember(chat, token, telegramtest.Admin())
	fmt.Fprintf(stdout, "STORAGE=telegram://%d?api=%s TELEGRAM_TOKEN=%s\n", chat, url.QueryEscape(server.URL()), token)
	<-ctx.Done()
	return server.Close()
}

// testServer starts a test server in its own process, so that its memory and processor time are not
// counted as the worker's. It returns the worker's settings for it.
func (l *lab) testServer(ctx context.Context, kind string) (settings []string, p *process, err error) {
	cmd := exec.CommandContext(ctx, l.self, "-serve", kind) //nolint:gosec // this program
	line := make(chan string, 1)
	p, err = start(ctx, kind, cmd, func(text string) bool {
		if !strings.HasPrefix(text, "STORAGE=") {
			return false
		}
		select {
		case line <- text:
		default:
		}
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	return strings.Fields(<-line), p, nil
}

// recipient returns a fresh age recipient without its identity.
func recipient() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

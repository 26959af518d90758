package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
)

// chat is private, where a bot may send a message a second; groups are slower.
const chat = 4242

// serveFlag is what this program is called with to be a test server.
const serveFlag = "-serve "

// serve runs one test server in this process until ctx ends, and prints the worker's
// settings for it on one line.
func serve(ctx context.Context, kind string, stdout io.Writer) error {
	switch kind {
	case "s3":
		return serveS3(ctx, stdout)
	case "telegram":
		return serveTelegram(ctx, stdout)
	}
	return errUsage
}

// serveS3 keeps everything in memory.
func serveS3(ctx context.Context, stdout io.Writer) error {
	store := s3mem.New()
	if err := store.CreateBucket("exports"); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the S3 test server: %w", err)
	}
	server := &http.Server{Handler: gofakes3.New(store).Server(), ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Fprintf(stdout, "STORAGE=s3://exports?endpoint=%s&region=us-east-1&path_style=true\n", url.QueryEscape("http://"+listener.Addr().String()))
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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

// testServer starts one in a process of its own, so that its memory and its time are not
// the worker's, and returns the worker's settings for it.
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

// recipient is a fresh age key, whose identity nobody has.
func recipient() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

// Package s3test is an S3 server for tests, the benchmarks and the demo: gofakes3, which stores
// everything in memory and accepts any key.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Server listens on 127.0.0.1 until Close.
type Server struct {
	url   string
	close func() error
}

// Start returns a Server with these buckets.
func Start(buckets ...string) (*Server, error) {
	memory := s3mem.New()
	for _, name := range buckets {
		if err := memory.CreateBucket(name); err != nil {
			return nil, fmt.Errorf("s3test: create bucket %q: %w", name, err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("s3test: %w", err)
	}
	server := &http.Server{Handler: gofakes3.New(memory).Server(), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return &Server{url: "http://" + listener.Addr().String(), close: sync.OnceValue(func() error {
		err := server.Close()
		if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	})}, nil
}

// URL returns the URL of the server.
func (s *Server) URL() string { return s.url }

// Storage returns the setting STORAGE for one of the buckets.
func (s *Server) Storage(bucket string) string {
	return "s3://" + bucket + "?endpoint=" + url.QueryEscape(s.url) + "&region=us-east-1&path_style=true"
}

// Close stops the server and its connections. Its objects are lost. It is idempotent.
func (s *Server) Close() error { return s.close() }

// Package s3test is an S3 server for tests, the benchmarks and the demo: gofakes3, which keeps
// everything in memory and takes any key.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Server listens on 127.0.0.1 until Close.
type Server struct {
	url   string
	http  *http.Server
	ended chan error
}

// Start returns a Server that has these buckets.
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
	s := &Server{
		url:   "http://" + listener.Addr().String(),
		http:  &http.Server{Handler: gofakes3.New(memory).Server(), ReadHeaderTimeout: time.Minute},
		ended: make(chan error, 1),
	}
	go func() { s.ended <- s.http.Serve(listener) }()
	return s, nil
}

// URL is where the server listens.
func (s *Server) URL() string { return s.url }

// Storage is the setting STORAGE for one of the buckets.
func (s *Server) Storage(bucket string) string {
	return "s3://" + bucket + "?endpoint=" + url.QueryEscape(s.url) + "&region=us-east-1&path_style=true"
}

// Close ends the server and its connections. What it held is gone.
func (s *Server) Close() error {
	err := s.http.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

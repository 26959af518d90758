// Package brokertest runs brokers for tests, observes their messages and breaks their connections.
package brokertest

import (
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// Timeout bounds every wait for something that must happen.
const Timeout = 2 * time.Minute

// RandomPort asks for any free port.
const RandomPort = server.RANDOM_PORT

// Main runs the tests of a package with one shared broker for all tests that do not stop theirs,
// and assigns it to shared. It returns the exit code, which is also not 0 if goroutines are left
// behind.
func Main(m *testing.M, shared **Plain) int {
	flag.Parse()
	if flag.Lookup("test.fuzzworker").Value.String() == "true" {
		return m.Run() // it is killed in the end, and needs no broker
	}
	dir, err := os.MkdirTemp("", "broker-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := StartPlain(dir, RandomPort)
	if err != nil {
		panic(err)
	}
	*shared = p
	code := m.Run()
	p.Shutdown()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
		code = 1
	}
	return code
}

// Quiet is a logger that writes nothing.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Connect returns a connection that the end of the test closes.
func Connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := broker.Connect(broker.Config{URLs: []string{url}, Logger: Quiet()})
	Must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// JetStream returns the JetStream of a connection.
func JetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	Must(t, err)
	return js
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Receive returns the next value of ch.
func Receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("channel closed")
		}
		return v
	case <-time.After(Timeout):
		t.Fatal("no value was received")
	}
	panic("unreachable")
}

// Ended waits until ch is closed. what names it in the failure.
func Ended(t testing.TB, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(Timeout):
		t.Fatal("did not end:", what)
	}
}

// Eventually polls the broker for a condition without an event.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(Timeout)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatal("timeout:", what)
		case <-poll.C:
		}
	}
}

// PortOf returns the port of a URL.
func PortOf(t testing.TB, raw string) int {
	t.Helper()
	u, err := url.Parse(raw)
	Must(t, err)
	port, err := strconv.Atoi(u.Port())
	Must(t, err)
	return port
}

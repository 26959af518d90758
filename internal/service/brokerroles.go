package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// askedFor holds the consumers that other processes, such as a verifier or a notifier, request from
// the embedded broker. Only this process can create them, because the key of the embedded broker's
// administrator never leaves it. A consumer is created only on request: otherwise its first reader
// would receive every event since its creation.
type askedFor struct {
	mu    sync.Mutex
	names []string
	news  chan struct{} // holds a token after names has grown
}

// hear subscribes to the API requests for information about consumers.
func (a *askedFor) hear(nc *nats.Conn) error {
	a.news = make(chan struct{}, 1)
	const subject = "$JS.API.CONSUMER.INFO."
	_, err := nc.Subscribe(subject+"*.*", func(m *nats.Msg) {
		_, name, _ := strings.Cut(strings.TrimPrefix(m.Subject, subject), ".")
		a.add(name)
	})
	if err != nil {
		return fmt.Errorf("hear which consumers are looked for: %w", err)
	}
	return nil
}

func (a *askedFor) add(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.names, name) {
		return
	}
	a.names = append(a.names, name)
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// extend adds the requested consumers to a topology.
func (a *askedFor) extend(t broker.Topology) broker.Topology {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.Verifier = t.Verifier || slices.Contains(a.names, events.ConsumerVerifier)
	t.Restores = t.Restores || slices.Contains(a.names, events.ConsumerRestore)
	for _, channel := range notify.Channels() {
		name := string(channel)
		if slices.Contains(a.names, broker.NotificationConsumer(name)) && !slices.Contains(t.Notifications, name) {
			t.Notifications = append(t.Notifications, name)
		}
	}
	return t
}

// topology returns the streams and consumers that this process's roles need and, on the embedded
// broker, those that other processes requested.
func (b *brokerLink) topology() broker.Topology { return b.asked.extend(setup.Topology(b.settings)) }

// madeByOthers waits up to 10 seconds for another process to create the missing consumers. The
// process with the embedded broker creates a consumer when one is requested.
func (b *brokerLink) madeByOthers(ctx context.Context, drift *broker.DriftError) error {
	const wait, pause = 10 * time.Second, 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		found, err := broker.Inspect(ctx, b.admin, b.topology())
		if err == nil && len(found) == 0 {
			return nil
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		select {
		case <-ctx.Done():
			return drift
		case <-tick.C:
		}
	}
}

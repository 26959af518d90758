package console_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
)

// box holds notifications.
type box struct {
	mu    sync.Mutex
	all   []api.Notice
	since time.Time // of List
}

func (b *box) List(context.Context) ([]api.Notice, time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all), b.since, nil
}

func (b *box) at(key string) int {
	return slices.IndexFunc(b.all, func(n api.Notice) bool { return n.Key == key })
}

func (b *box) Find(_ context.Context, key string) (api.Notice, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.at(key); i >= 0 {
		return b.all[i], nil
	}
	return api.Notice{}, api.ErrNoNotice
}

func (b *box) Replay(_ context.Context, key string) error {
	b.set(key, "waiting")
	return nil
}

// set changes the state of a notification, as a notifier does.
func (b *box) set(key, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := &b.all[b.at(key)]
	n.State, n.Tries, n.Cause = state, 0, ""
}

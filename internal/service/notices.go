package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
)

// noticeAge is the age after which a notification is not shown any more: the broker keeps no outcome
// for longer by default.
const noticeAge = 90 * 24 * time.Hour

var _ api.Notices = (*notices)(nil)

// notices reads and replays the notifications for the API. It keeps what it has read, and reads only the
// changes.
type notices struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	publisher queue.Publisher
	records   queue.Records

	mu   sync.Mutex
	all  map[notify.Key]notify.Record
	next uint64
}

func newNotices(nc *nats.Conn, js jetstream.JetStream) *notices {
	return &notices{nc: nc, js: js, publisher: broker.NewPublisher(js), records: queue.NewRecords(js), all: map[notify.Key]notify.Record{}}
}

// may returns api.ErrNoticeRight if the broker's login lacks rights. A refused request would wait for
// its timeout.
func (n *notices) may(ctx context.Context, to []string) error {
	who, err := server.WhoAmI(ctx, n.nc)
	if err == nil && who.Rights != nil && len(who.Rights.Lacks(server.Rights{Publish: to})) > 0 {
		return api.ErrNoticeRight
	}
	return nil
}

// List implements api.Notices.
func (n *notices) List(ctx context.Context) ([]api.Notice, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == 0 {
		if err := n.may(ctx, server.ReadNotifications()); err != nil {
			return nil, err
		}
	}
	var err error
	if n.next, err = n.records.Since(ctx, n.next, func(r notify.Record) { n.all[r.Key] = r }); err != nil {
		return nil, fmt.Errorf("list the notifications: %w", err)
	}
	out := make([]api.Notice, 0, len(n.all))
	for key, r := range n.all {
		if time.Since(r.UpdatedAt) > noticeAge {
			delete(n.all, key)
			continue
		}
		out = append(out, noticeOf(r))
	}
	slices.SortFunc(out, func(a, b api.Notice) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

func noticeOf(r notify.Record) api.Notice {
	n := api.Notice{
		Key: string(r.Key), State: string(r.State), Channel: string(r.Channel), Recipient: r.Recipient, Project: r.ProjectID, Request: r.RequestID,
		Tries: r.Tries, Cause: r.Cause, UpdatedAt: r.UpdatedAt,
	}
	if !r.NextTryAt.IsZero() {
		n.NextTryAt = &r.NextTryAt
	}
	return n
}

// Find implements api.Notices.
func (n *notices) Find(ctx context.Context, key string) (api.Notice, error) {
	if err := n.may(ctx, server.ReadNotifications()); err != nil {
		return api.Notice{}, err
	}
	r, _, err := n.records.Get(ctx, notify.Key(key))
	switch {
	case errors.Is(err, notify.ErrNotFound):
		return api.Notice{}, api.ErrNoNotice
	case err != nil:
		return api.Notice{}, fmt.Errorf("look up a notification: %w", err)
	}
	return noticeOf(r), nil
}

// Replay implements api.Notices.
func (n *notices) Replay(ctx context.Context, key string) error {
	if err := n.may(ctx, server.ReplayNotifications()); err != nil {
		return err
	}
	_, err := queue.Replay(ctx, n.publisher, n.js, notify.Key(key))
	switch {
	case errors.Is(err, queue.ErrUnknown):
		return api.ErrNoNotice
	case errors.Is(err, queue.ErrDelivered), errors.Is(err, notify.ErrSent):
		return api.ErrNoticeSent
	case errors.Is(err, notify.ErrConflict):
		return api.ErrNoticeChanged
	}
	return err
}

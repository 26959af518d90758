package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
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

const (
	// noticeAge is the age after which a notification is not shown any more: the broker keeps no outcome
	// for longer by default.
	noticeAge = 90 * 24 * time.Hour
	// keptSent is how many sent notifications are kept, the newest ones.
	keptSent = 5000
	// olderFor is how long one List reads older notifications, in blocks of so many positions.
	olderFor   = time.Second
	olderBlock = 500
)

var _ api.Notices = (*notices)(nil)

// notices reads and replays the notifications for the API. It keeps what it has read. Each List reads the
// changes since the one before, and then older notifications until all are read: the broker has one answer
// for each, and there can be more than one call may wait for.
type notices struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	publisher queue.Publisher
	records   queue.Records

	mu   sync.Mutex
	all  map[notify.Key]notify.Record
	next uint64 // the position of the next change; 0: nothing was read
	// older is the position from which on everything was read, first that of the oldest record.
	older, first uint64
	block        uint64    // the position from which on the block before older is still to be read; 0: its begin
	since        time.Time // when the oldest record after older changed
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
func (n *notices) List(ctx context.Context) ([]api.Notice, time.Time, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == 0 {
		if err := n.may(ctx, server.ReadNotifications()); err != nil {
			return nil, time.Time{}, err
		}
	}
	if err := n.read(ctx); err != nil {
		return nil, time.Time{}, fmt.Errorf("list the notifications: %w", err)
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
	sent := 0
	out = slices.DeleteFunc(out, func(one api.Notice) bool {
		if one.State != string(notify.Sent) {
			return false
		}
		if sent++; sent > keptSent {
			delete(n.all, notify.Key(one.Key))
		}
		return sent > keptSent
	})
	if n.older > n.first {
		return out, n.since, nil
	}
	return out, time.Time{}, nil
}

// read reads the changes, and older records for a while.
func (n *notices) read(ctx context.Context) error {
	if n.next == 0 {
		first, next, err := n.records.Span(ctx)
		if err != nil {
			return err
		}
		n.first, n.older, n.next, n.since = first, next, next, time.Now()
	}
	keep := func(r notify.Record) { n.all[r.Key] = r }
	var err error
	if n.next, err = n.records.Between(ctx, n.next, math.MaxUint64, keep); err != nil {
		return err
	}
	for begun := time.Now(); n.older > n.first && time.Since(begun) < olderFor; {
		from := max(n.older, n.first+olderBlock) - olderBlock
		next, err := n.records.Between(ctx, max(from, n.block), n.older, func(r notify.Record) {
			keep(r)
			if r.UpdatedAt.Before(n.since) {
				n.since = r.UpdatedAt
			}
		})
		if err != nil {
			n.block = next // else a slow broker and short calls would never read a whole block
			return err
		}
		n.older, n.block = from, 0
	}
	return nil
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

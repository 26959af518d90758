package service

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
)

// noticeAge is the age after which a notification is not shown any more: the broker keeps no outcome
// for longer by default.
const noticeAge = 90 * 24 * time.Hour

// notices reads the notifications for the console. It keeps what it has read, and reads only the changes.
type notices struct {
	nc      *nats.Conn
	records queue.Records

	mu   sync.Mutex
	all  map[notify.Key]notify.Record
	next uint64
}

func newNotices(nc *nats.Conn, js jetstream.JetStream) *notices {
	return &notices{nc: nc, records: queue.NewRecords(js), all: map[notify.Key]notify.Record{}}
}

// List returns the notifications, the last changed first. console.ErrNoRight: the broker's login may
// not read them.
func (n *notices) List(ctx context.Context) ([]console.Notice, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == 0 { // a refused request would wait for its timeout
		who, err := server.WhoAmI(ctx, n.nc)
		if err == nil && who.Rights != nil && len(who.Rights.Lacks(server.Rights{Publish: server.ReadNotifications()})) > 0 {
			return nil, console.ErrNoRight
		}
	}
	var err error
	if n.next, err = n.records.Since(ctx, n.next, func(r notify.Record) { n.all[r.Key] = r }); err != nil {
		return nil, fmt.Errorf("list the notifications: %w", err)
	}
	out := make([]console.Notice, 0, len(n.all))
	for key, r := range n.all {
		if time.Since(r.UpdatedAt) > noticeAge {
			delete(n.all, key)
			continue
		}
		out = append(out, console.Notice{
			Key: string(r.Key), State: string(r.State), Channel: string(r.Channel), Recipient: r.Recipient, Project: r.ProjectID, Request: r.RequestID,
			Tries: r.Tries, Cause: r.Cause, UpdatedAt: r.UpdatedAt, NextTryAt: r.NextTryAt,
		})
	}
	slices.SortFunc(out, func(a, b console.Notice) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// Records implements notify.Records over the states in the broker.
type Records struct{ *broker.States }

var _ notify.Records = Records{}

// NewRecords returns the records of a broker.
func NewRecords(js jetstream.JetStream) Records {
	return Records{broker.NewStates(js)}
}

// Get implements notify.Records.
func (r Records) Get(ctx context.Context, key notify.Key) (notify.Record, uint64, error) {
	body, revision, err := r.States.Get(ctx, string(key))
	if errors.Is(err, broker.ErrNoState) {
		return notify.Record{}, 0, fmt.Errorf("%w: %w", notify.ErrNotFound, err)
	}
	if err != nil {
		return notify.Record{}, 0, err
	}
	record, err := decodeRecord(body)
	return record, revision, err
}

// Put implements notify.Records.
func (r Records) Put(ctx context.Context, record notify.Record, revision uint64) error {
	body, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the record of %s: %w", record.Key, err)
	}
	err = r.Set(ctx, string(record.Key), body, revision)
	if errors.Is(err, broker.ErrStateChanged) {
		return fmt.Errorf("%w: %w", notify.ErrConflict, err)
	}
	return err
}

// List returns all records, the longest unchanged first.
func (r Records) List(ctx context.Context) ([]notify.Record, error) {
	out := []notify.Record{}
	err := r.All(ctx, func(_ string, body []byte) error {
		record, err := decodeRecord(body)
		out = append(out, record)
		return err
	})
	return out, err
}

// Between calls use with each record that changed at or after the position from and before the position to,
// and returns the position after the last one. See broker.States.Between.
func (r Records) Between(ctx context.Context, from, to uint64, use func(notify.Record)) (next uint64, err error) {
	return r.States.Between(ctx, from, to, func(_ string, body []byte) error {
		record, err := decodeRecord(body)
		if err == nil {
			use(record)
		}
		return err
	})
}

func decodeRecord(body []byte) (notify.Record, error) {
	var record notify.Record
	if err := json.Unmarshal(body, &record); err != nil {
		return notify.Record{}, fmt.Errorf("decode the record of a notification: %w", err)
	}
	return record, nil
}

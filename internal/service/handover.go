package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// HandoverConfig is what the hand-over of exports needs.
type HandoverConfig struct {
	Settings  config.Config
	Ledger    *ledger.Ledger
	Publisher telemetry.Publisher
	Address   func(*http.Request) string // of a client
	Observe   func(byLink bool, result string, bytes int64)
	Log       *slog.Logger
}

// Handover is the part of the role api for download links: it issues the links that requests name
// in deliver, serves links, and publishes their events.
type Handover struct {
	Links   *handover.Links
	Handler *handover.Handler
	set     destinations.Set
	records *ledger.Ledger
	keys    *handover.Keys
}

// NewHandover opens the storage for reading, and the link key. The caller closes the Handover.
func NewHandover(c HandoverConfig) (*Handover, error) {
	s := c.Settings
	keys, err := handover.OpenKeys(s.LinkKey, s.DataDir)
	if err != nil {
		return nil, config.Errorf("%sLINK_KEY: %w", config.Prefix, err)
	}
	urls, err := s.StorageURLs()
	if err != nil {
		return nil, err
	}
	set, err := destinations.Open(urls, destinations.Options{TelegramToken: s.TelegramToken, AllowPlaintext: true, Log: c.Log})
	if err != nil {
		return nil, err
	}
	return &Handover{
		set:     set,
		records: c.Ledger,
		keys:    keys,
		Links:   NewLinks(s, c.Ledger, keys, &handlers.LinkEvents{Publisher: publications{c.Publisher}, Source: "pgcourier/api", KeyID: keys.ID()}, c.Log),
		Handler: handover.NewHandler(handover.HandlerConfig{
			Records: c.Ledger, Files: Files{Set: set, Direct: s.LinkPresign, Log: c.Log}, Keys: keys, Address: c.Address, Log: c.Log,
			Observe: func(t handover.Transfer) { c.Observe(t.ByLink, string(t.Result), t.Bytes) },
		}),
	}, nil
}

// NewLinks returns the links of a configuration. If a is nil, another process publishes the events.
func NewLinks(s config.Config, records *ledger.Ledger, keys *handover.Keys, a *handlers.LinkEvents, log *slog.Logger) *handover.Links {
	c := handover.LinksConfig{
		Records: records, Keys: keys, PublicURL: s.PublicURL, Read: handlers.ReadDelivery, Check: handlers.CheckLink, Log: log,
	}
	if a != nil {
		c.Announcer = a
	}
	return handover.NewLinks(c)
}

// receipt returns the receipt of a completed export from the first destination that has it.
func (h *Handover) receipt(ctx context.Context, id export.ID, verified bool) ([]byte, error) {
	file, err := h.records.FileOf(ctx, id)
	if err != nil {
		return nil, err
	}
	kind := storage.Receipt
	if verified {
		kind = storage.Verification
	}
	var faults []error
	for _, d := range h.set {
		b, err := d.Receipt(ctx, file.Key, kind)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return nil, handover.ErrNoExport
}

// Run issues links and publishes their events until ctx ends.
func (h *Handover) Run(ctx context.Context) error { return h.Links.Run(ctx) }

// Close closes the storage.
func (h *Handover) Close() error { return h.set.Close() }

// linkAddress returns a function that computes the URL of a link from its event and the link key.
// Without PUBLIC_URL it returns nil, and no link is sent.
func linkAddress(s config.Config) (func(events.LinkIssued) (string, error), error) {
	if s.PublicURL == "" {
		return nil, nil //nolint:nilnil // there are none
	}
	keys, err := handover.OpenKeys(s.LinkKey, s.DataDir)
	if err != nil {
		return nil, config.Errorf("%sLINK_KEY: %w", config.Prefix, err)
	}
	return func(e events.LinkIssued) (string, error) {
		token, ok := keys.TokenBy(e.KeyID, handlers.Linked(e))
		if !ok {
			return "", fmt.Errorf("the link was made by the key %s, which this notifier does not have: give both the same LINK_KEY", e.KeyID)
		}
		return handover.URL(s.PublicURL, token), nil
	}, nil
}

package handlers_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// found is a verifier with a configured answer.
type found struct {
	verified *events.Verified
	failed   *events.VerificationFailed
	err      error
	asked    []events.Completed
}

func (f *found) Verify(_ context.Context, c events.Completed) (*events.Verified, *events.VerificationFailed, error) {
	f.asked = append(f.asked, c)
	return f.verified, f.failed, f.err
}

func TestCompletedPublishesVerifications(t *testing.T) {
	t.Parallel()
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	at := time.Date(2026, 3, 14, 9, 26, 54, 0, time.UTC)
	completed := events.Completed{
		RequestID: "r1", ProjectID: "acme", Attempt: 1, Format: events.FormatSQL, Compression: events.CompressionNone,
		Encryption: events.EncryptionNone, Schemas: []string{"s"}, SHA256: sum,
		Storage:       []events.Location{{Destination: "file", Status: events.LocationStored, URI: "file:k"}},
		ServerVersion: "15.18", PgDumpVersion: "15.18", StartedAt: at, FinishedAt: at,
	}
	good := &events.Verified{
		RequestID: "r1", ProjectID: "acme", Attempt: 1, Copies: []events.VerifiedCopy{{Destination: "file", URI: "file:k"}},
		SHA256: sum, DumpSHA256: sum, ServerVersion: "15.18", StartedAt: at, FinishedAt: at,
	}
	bad := &events.VerificationFailed{
		RequestID: "r1", ProjectID: "acme", Attempt: 1, Destination: "file", Code: codes.ExportDamaged, Message: "m", SHA256: sum, StartedAt: at, FinishedAt: at,
	}
	errAway := errors.New("the scratch server is away")
	for name, c := range map[string]struct {
		is      found
		last    bool
		refuse  []error
		subject string
		err     error
	}{
		"whole":                     {is: found{verified: good}, subject: "backup.verified.acme.r1"},
		"damaged":                   {is: found{failed: bad}, subject: "backup.verification_failed.acme.r1"},
		"removed on purpose":        {},
		"could not be made":         {is: found{err: errAway}, err: errAway},
		"could not be made at last": {is: found{err: errAway}, last: true},
		"the broker comes back":     {is: found{verified: good}, refuse: []error{export.ErrUnavailable, nil}, subject: "backup.verified.acme.r1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := completed.Encode("test")
			if err != nil {
				t.Fatal(err)
			}
			out := &tray{refuse: c.refuse}
			h := handlers.Completed{Verifier: &c.is, Publisher: out, Source: "test", Log: slog.New(slog.DiscardHandler)}
			msg := deliveredAs(delivery.Delivery{Subject: in.Subject, Last: c.last}, string(in.Body))
			for k, v := range in.Header {
				msg.Metadata.Set(k, v)
			}
			if err := h.Handle(msg); !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if len(c.is.asked) != 1 || c.is.asked[0].RequestID != "r1" {
				t.Errorf("asked for %+v", c.is.asked)
			}
			switch {
			case c.subject == "" && len(out.out) > 0:
				t.Errorf("published %+v", out.out)
			case c.subject != "" && (len(out.out) != 1 || out.out[0].subject != c.subject || out.out[0].filter != c.subject):
				t.Errorf("published %+v, want once on %s", out.out, c.subject)
			}
		})
	}
	// An ordered verification is announced also where an earlier one was.
	out := &tray{}
	again := handlers.Completed{Verifier: &found{verified: good}, Publisher: out, Source: "test", Log: slog.New(slog.DiscardHandler)}
	if err := again.Again(t.Context(), completed, at.Add(time.Hour)); err != nil || len(out.out) != 1 || out.out[0].subject != "backup.verified.acme.r1" || out.out[0].filter != "" {
		t.Errorf("%v, published %+v", err, out.out)
	}
	if id := out.out[0].msg.Metadata[events.HeaderID]; !strings.HasPrefix(id, "backup.verified.acme.r1.") {
		t.Errorf("its id is %q, that of the first verification", id)
	}
	again.Verifier = &found{err: errAway}
	if err := again.Again(t.Context(), completed, at); !errors.Is(err, errAway) {
		t.Errorf("a verification that could not be made: %v", err)
	}
	// A message that is not a backup.completed is dropped; otherwise it would be redelivered for
	// ever.
	v := &found{}
	h := handlers.Completed{Verifier: v, Publisher: &tray{}, Source: "test", Log: slog.New(slog.DiscardHandler)}
	if err := h.Handle(delivered("backup.completed.acme.r1", "{")); err != nil || len(v.asked) > 0 {
		t.Errorf("%v, asked %v", err, v.asked)
	}
}

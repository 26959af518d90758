package stored

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// Recovery is what Recover did.
type Recovery struct {
	Exports   int               `json:"exports"`   // manifests that were read, copies of one counted once
	Recovered []string          `json:"recovered"` // requests that the ledger did not know
	Known     int               `json:"known"`     // requests that it knew, left as they are
	Faults    map[string]string `json:"faults"`    // by destination and key: why a manifest was not used
}

// Text describes the recovery, and what is to be done because the storage does not hold it.
func (r Recovery) Text() string {
	text := fmt.Sprintf("%d exports are stored: %d requests recovered, %d were known\n", r.Exports, len(r.Recovered), r.Known)
	if len(r.Recovered) > 0 {
		text += "No links were issued for recovered requests: \"pgcourier link create\" issues one.\n" +
			"Tokens and rules of retention that the ledger lost are not in the storage: run \"pgcourier apply\" before a pruner starts.\n"
	}
	return text
}

// Recover records in the ledger the requests of all stored exports that it does not know. faults
// are those of single manifests; the others are recorded all the same.
func (e *Exports) Recover(ctx context.Context, led *ledger.Ledger) (out Recovery, faults []error, err error) {
	out = Recovery{Recovered: []string{}, Faults: map[string]string{}}
	found, unusable, err := e.manifests(ctx)
	if err != nil {
		return out, nil, err
	}
	out.Exports = len(found)
	for _, m := range found {
		r, err := requestOf(m)
		if err != nil {
			unusable[m.Key] = fmt.Errorf("%w: %w", storage.ErrDamaged, err)
			continue
		}
		made, err := led.Recover(ctx, r, m)
		if err != nil {
			return out, nil, err
		}
		if made {
			out.Recovered = append(out.Recovered, m.ID.String())
		} else {
			out.Known++
		}
	}
	slices.Sort(out.Recovered)
	for at, err := range unusable {
		out.Faults[at] = err.Error()
		faults = append(faults, WithHint(fmt.Errorf("%s: %w", at, err)))
	}
	return out, faults, nil
}

// manifests reads all manifests that can be read: one for each request, of its last attempt, with
// where its copies lie. faults are those of single manifests.
func (e *Exports) manifests(ctx context.Context) (found map[export.ID]export.Manifest, faults map[string]error, err error) {
	found, faults = map[export.ID]export.Manifest{}, map[string]error{}
	for _, d := range e.Set {
		for doc, err := range d.Manifests(ctx) {
			switch {
			case err != nil && doc.Key == "": // the destination itself cannot be read
				return nil, nil, WithHint(fmt.Errorf("%s: %w", d.Name, err))
			case err != nil:
				faults[d.Name+":"+doc.Key] = err
				continue
			}
			where, err := d.Copy(ctx, doc.Key)
			if err != nil {
				faults[d.Name+":"+doc.Key] = err
				continue
			}
			m, have := found[doc.Manifest.ID]
			switch {
			case have && m.Key == doc.Key:
				m.Artifact.Copies = append(m.Artifact.Copies, where)
			case !have || m.Attempt < doc.Manifest.Attempt:
				m = doc.Manifest
				m.Artifact.Copies = []export.Copy{where}
			}
			found[m.ID] = m
		}
	}
	return found, faults, nil
}

// requestOf makes the request of a manifest, as the worker had decoded it: a manifest is written
// indented, and the request's digest is that of its canonical form.
func requestOf(m export.Manifest) (export.Request, error) {
	asked, err := events.Decode(events.Message{Body: m.Payload})
	if err != nil {
		return export.Request{}, fmt.Errorf("the manifest's request: %w", err)
	}
	if asked.ProjectID != m.Project {
		return export.Request{}, errors.New("the manifest's request is another project's")
	}
	payload, err := asked.Canonical()
	if err != nil {
		return export.Request{}, fmt.Errorf("the manifest's request: %w", err)
	}
	return export.Request{ID: m.ID, RequestedBy: m.RequestedBy, Metadata: m.Metadata, Payload: payload, Digest: sha256.Sum256(payload)}, nil
}

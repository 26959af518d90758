package handlers

import (
	"fmt"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// DecodeAnnounced returns the manifest of an announced export, as far as the event tells it: without what
// a restore needs in the target, which the stored manifest has. The key is empty if the event has no
// request.
func DecodeAnnounced(c events.Completed) (export.Manifest, error) {
	a := &export.Artifact{
		Format: export.Format(c.Format), Compression: export.Compression(c.Compression), Level: seal.Level(c.CompressionLevel),
		Encryption: seal.Encryption(c.Encryption), Schemas: c.Schemas,
		SizeBytes: c.SizeBytes, StoredBytes: c.StoredBytes, SHA256: c.SHA256, Tables: int(c.Tables), Rows: c.Rows,
		ServerVersion: c.ServerVersion, PgDumpVersion: c.PgDumpVersion, Warnings: c.Warnings, Recipients: c.Recipients,
	}
	receipts := map[string]string{}
	if c.Receipt != nil {
		a.Receipt = &export.Receipt{SHA256: c.Receipt.SHA256, KeyID: c.Receipt.KeyID}
		for _, r := range c.Receipt.Copies {
			receipts[r.Destination] = r.URI
		}
	}
	for _, l := range c.Storage {
		a.Copies = append(a.Copies, export.Copy{
			Destination: l.Destination, Status: export.CopyStatus(l.Status), URI: l.URI, Receipt: receipts[l.Destination], Code: l.Code, Message: l.Message,
		})
	}
	m := export.Manifest{Version: 1, Outcome: export.Outcome{
		ID: export.ID{Project: c.ProjectID, Request: c.RequestID}, State: export.Completed, Attempt: c.Attempt,
		StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, RequestedBy: c.RequestedBy, Metadata: c.Metadata,
		Trace: export.Trace{Parent: c.Trace.Parent, State: c.Trace.State}, Artifact: a,
	}}
	if c.Request == nil {
		return m, nil
	}
	var err error
	if m.Payload, err = c.Request.Canonical(); err != nil {
		return m, fmt.Errorf("encode the request of an announced export: %w", err)
	}
	m.Key = m.ObjectKey(c.Request.StoragePath)
	return m, nil
}

package project

import (
	"context"
	"errors"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// lookTimeout bounds IsUnknown: its caller can do without the answer.
const lookTimeout = 3 * time.Second

// IsUnknown reports whether the control plane answers that it has no active project of this id.
// url and command are the database as for controlplane.Connect, query as for New. It is false when there is no answer within 3 seconds.
func IsUnknown(ctx context.Context, url secret.String, command secret.Command, query, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	pool, err := controlplane.Connect(ctx, url, command)
	if err != nil {
		return false
	}
	defer pool.Close()
	_, err = New(pool, query).Lookup(ctx, id)
	f, ok := errors.AsType[*export.Fault](err)
	return ok && f.Code == codes.ProjectNotFound
}

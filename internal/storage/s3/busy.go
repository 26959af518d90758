package s3

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"
)

// pauses are between the tries of one request that the server is too busy for, beyond the
// client's own quick ones: a minute and a half in all, so that a dump need not be made again.
var pauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second, 30 * time.Second}

// longWait is the wait of one request that is logged, at the beginning of the pause that reaches it.
const longWait = time.Minute

// retryBusy repeats a call while the server is too busy for it. call must be repeatable. The error
// is the last call's.
func (d *Driver) retryBusy(ctx context.Context, call func() error) error {
	var waited time.Duration
	for _, pause := range pauses {
		err := call()
		if err == nil || ctx.Err() != nil || !busy(err) {
			return err
		}
		if before := waited; before < longWait && before+pause >= longWait {
			d.log.WarnContext(ctx, "waiting for a storage that is too busy", "bucket", d.bucket, "waited", before, "error", err)
		}
		if d.sleep(ctx, pause) != nil {
			return err
		}
		waited += pause
	}
	return call()
}

// busy reports whether a server said that it cannot now.
func busy(err error) bool {
	var e minio.ErrorResponse
	if !errors.As(err, &e) {
		return false
	}
	return slices.Contains([]int{
		http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, e.StatusCode)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

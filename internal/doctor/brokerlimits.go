package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// checkLimits looks at the account's room, and returns what the broker says of the account; nil:
// it says nothing. false: there is no JetStream to look at.
func (x *examiner) checkLimits(ctx context.Context, js jetstream.JetStream, r *Report) (*jetstream.AccountInfo, bool) {
	info, err := js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		r.Add("limits", Finding{State: Fault, Found: err.Error(), Fix: "enable JetStream on the broker and for this account: see docs/broker.md"})
		return nil, false
	case err != nil:
		r.Add("limits", Finding{State: Unknown, Found: "the account's limits cannot be seen: " + err.Error(), Fix: "let this user publish on $JS.API.INFO"})
		return nil, true
	}
	if info.Limits.MaxBytesRequired && x.Settings.NATSMaxBytes == 0 {
		r.Add("limits/max_bytes", Finding{State: Fault, Found: "the account demands a limit for each stream (max_bytes_required)", Fix: "set PGCOURIER_NATS_STREAM_MAX_BYTES for the workers and `pgcourier broker setup`"})
	}
	if most := info.Limits.MaxAckPending; most > 0 && most < x.Settings.NATSMaxAcks {
		r.Add("limits/max_ack_pending", Finding{State: Fault, Found: fmt.Sprintf("the account's consumers may hold %d messages, PGCOURIER_NATS_MAX_ACK_PENDING is %d", most, x.Settings.NATSMaxAcks), Fix: fmt.Sprintf("set PGCOURIER_NATS_MAX_ACK_PENDING=%d", most)})
	}
	used, limit := info.Store, info.Limits.MaxStore
	if limit <= 0 {
		r.OK("limits", "the account stores %s and has no limit; how full the broker's disk is cannot be seen from here", humanize.IBytes(used))
		return info, true
	}
	f := Finding{State: OK, Found: fmt.Sprintf("the account stores %s of %s", humanize.IBytes(used), humanize.IBytes(uint64(limit)))}
	const nearly, full = 0.8, 0.95
	switch share := float64(used) / float64(limit); {
	case share >= full:
		f.State = Fault
	case share >= nearly:
		f.State = Warning
	}
	if f.State != OK {
		f.Fix = "raise the account's max_file (JetStream), or keep outcomes for a shorter time (OUTCOME_RETENTION)"
	}
	r.Add("limits", f)
	return info, true
}

// checkRoom says whether the account has room for the streams that are missing.
func (x *examiner) checkRoom(account *jetstream.AccountInfo, found []broker.Difference, r *Report) {
	missing := 0
	for _, d := range found {
		if d.Field == "" && !strings.Contains(d.Object, "/") {
			missing++
		}
	}
	if account == nil || missing == 0 {
		return
	}
	limits, each := account.Limits, max(int64(x.Settings.NATSMaxBytes), 0)
	if limits.MaxStreams >= 0 && account.Streams+missing > limits.MaxStreams {
		r.Add("limits/max_streams", Finding{
			State: Fault, Found: fmt.Sprintf("the account may hold %d streams, holds %d, and %d are missing", limits.MaxStreams, account.Streams, missing),
			Fix: "raise the account's max_streams",
		})
	}
	if limits.StoreMaxStreamBytes > 0 && each > limits.StoreMaxStreamBytes {
		r.Add("limits/max_stream_bytes", Finding{
			State: Fault, Found: fmt.Sprintf("a stream of the account may reserve %s, PGCOURIER_NATS_STREAM_MAX_BYTES is %s", inBytes(limits.StoreMaxStreamBytes), inBytes(each)),
			Fix: "lower PGCOURIER_NATS_STREAM_MAX_BYTES for the workers and `pgcourier broker setup`, or raise the account's disk_max_stream_bytes",
		})
	}
	reserved := int64(min(account.ReservedStore, math.MaxInt64))
	if need := each * int64(missing); limits.MaxStore >= 0 && reserved+need > limits.MaxStore {
		r.Add("limits/max_file", Finding{
			State: Fault, Found: fmt.Sprintf("the account may store %s, has reserved %s, and the %d missing streams reserve %s", inBytes(limits.MaxStore), inBytes(reserved), missing, inBytes(need)),
			Fix: "lower PGCOURIER_NATS_STREAM_MAX_BYTES for the workers and `pgcourier broker setup`, or raise the account's max_file",
		})
	}
}

func inBytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

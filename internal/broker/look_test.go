package broker_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// A stream or consumer of which the servers have no majority does not answer, which is named: no request can end.
func TestAStreamWithoutAMajorityIsNamed(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]string{
		"STREAM.INFO.":   "the broker does not answer for BACKUP_",
		"CONSUMER.INFO.": "the broker does not answer for BACKUP_REQUESTS/export-worker",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			url := brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL()
			must(t, broker.Provision(t.Context(), stream(t, connect(t, url)), broker.Topology{}))
			var swallow atomic.Int32
			js := brokertest.Slow(t, url, call, &swallow)
			brokertest.Eventually(t, "all answer in time", func() bool {
				return len(broker.Look(t.Context(), js, broker.Topology{}, false)) == 0
			})
			swallow.Store(1000)
			found := broker.Look(t.Context(), js, broker.Topology{}, false)
			if len(found) != 1 || found[0].Kind != broker.Silent || !strings.HasPrefix(found[0].String(), want) {
				t.Errorf("found %v, want %s", found, want)
			}
		})
	}
}

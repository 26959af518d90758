package consumer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// BenchmarkFairness measures how long another project's single request waits from its publish to
// its start, on a worker with one slot and runs of 50 ms. It measures on an idle worker, behind
// 1,000 requests of one project with turns, and in plain order behind 50 of them: more would take a
// minute.
//
//	make bench-fairness
func BenchmarkFairness(b *testing.B) {
	const run = 50 * time.Millisecond
	for _, c := range []struct {
		name  string
		flood int
		turns bool
	}{{"idle", 0, true}, {"flood=1000", 1000, true}, {"plain-order/flood=50", 50, false}} {
		b.Run(c.name, func(b *testing.B) {
			q := setup(b)
			q.AllowPending(5000)
			config := q.byProject(1, 2000)
			if !c.turns {
				config.Turn = nil
			}
			started := make(chan delivery.Delivery, 2*c.flood+2)
			if c.flood > 0 {
				q.Flood(slices.Repeat([]string{"flooding"}, c.flood)...)
			}
			s, ch := q.subscribe(config)
			handled := make(chan struct{})
			go func() {
				defer close(handled)
				for msg := range ch {
					d := delivery.Of(msg.Context())
					started <- d
					if d.Subject == q.Bind.Stream+".flooding" {
						time.Sleep(run)
					}
					msg.Ack()
				}
			}()
			if c.flood > 0 {
				<-started // the worker is in the middle of the flood
			}
			var waits []time.Duration
			for b.Loop() {
				begun := time.Now()
				q.Flood("single")
				for d := range started {
					if d.Subject == q.Bind.Stream+".single" {
						break
					}
				}
				waits = append(waits, time.Since(begun))
			}
			must(b, s.Close())
			<-handled
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "ms/median")
			b.ReportMetric(float64(waits[len(waits)-1].Microseconds())/1000, "ms/longest")
			b.ReportMetric(float64(waits[len(waits)-1])/float64(run), "runs/longest")
		})
	}
}

package telemetry

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// sampleEvery is the shortest time between two reads of one source, for any number of
	// scrapes. Prometheus scrapes every 15 s or less often.
	sampleEvery = 5 * time.Second
	// successEvery is the same for sources that read tables: the ledger's times of success, and
	// the deletions of retention.
	successEvery = time.Minute
	// sampleTimeout is how long a source that does not answer can delay a scrape, once in
	// sampleEvery.
	sampleTimeout = time.Second
)

// Backlog is the fill level of a queue.
type Backlog struct {
	Waiting uint64    // never delivered yet
	Held    int       // delivered and not settled, messages before their next delivery included
	Oldest  time.Time // publication of the oldest waiting message; zero if none waits
	First   time.Time // publication of the oldest message; zero if there is none
}

// sampled holds the values that are read at a scrape. A source that does not answer has only the
// series pgcourier_sample_up, with 0: an old value would look like a new one.
type sampled struct {
	up, waiting, held, age, first      *prometheus.Desc
	toNotify, notifying, notifyAge     *prometheus.Desc
	lastSuccess, lastOfProject, linked *prometheus.Desc
	ready, outcomes                    *prometheus.Desc
	toDelete, notDeleted, lastRun      *prometheus.Desc

	mu      sync.Mutex
	sources []func(chan<- prometheus.Metric)
}

func newSampled(m *metrics, c Config) *sampled {
	s := &sampled{
		waiting:     m.desc("queue_waiting_requests", "Requests that no worker has taken yet, in all of the queue.", "queue"),
		held:        m.desc("queue_held_requests", "Requests that a worker has: running, waiting for their turn or for their next delivery, in all of the queue.", "queue"),
		age:         m.desc("queue_oldest_waiting_age_seconds", "Age of the request that has waited longest for its first delivery; 0: none waits.", "queue"),
		first:       m.desc("queue_oldest_age_seconds", "Age of the oldest request that has not ended, running ones included; 0: there is none.", "queue"),
		toNotify:    m.desc("notifier_waiting_notifications", "Notifications that have not been tried yet.", "channel"),
		notifying:   m.desc("notifier_held_notifications", "Notifications that are being tried or wait for their next try.", "channel"),
		notifyAge:   m.desc("notifier_oldest_waiting_age_seconds", "Age of the notification that has waited longest for its first try; 0: none waits.", "channel"),
		lastSuccess: m.desc("last_success_timestamp_seconds", "When the newest completed export of any project ended, from the ledger; absent: there is none."),
		toDelete:    m.desc("retention_waiting_exports", "Exports that retention is to delete: they are warned of, or their deletion has begun. Of a pruner, from the ledger."),
		notDeleted:  m.desc("retention_failing_exports", "Of these, those that at least three runs could not delete."),
		lastRun:     m.desc("retention_last_run_timestamp_seconds", "When pruning of all projects last came to its end, by whatever process; absent: it never has."),
		linked:      m.desc("broker_connected", "1 while this process is connected to the broker."),
		ready:       m.desc("ready", "1 while this process finds nothing that keeps requests from ending. It looks every 5 s; /readyz and the log say what it found."),
		outcomes:    m.desc("outcomes_waiting", "Outcomes of this process that the broker does not take; each is tried again, and its log has the broker's words."),
		up:          m.desc("sample_up", "1 if the source of the sampled metrics answered at its last look: queue, intake, ledger, retention or a channel of the notifier.", "source"),
	}
	if c.PerProject {
		s.lastOfProject = m.desc("project_last_success_timestamp_seconds", "When the newest completed export of a project ended, from the ledger. Only with METRICS_PER_PROJECT.", "project_id")
	}
	return s
}

// Describe implements prometheus.Collector.
func (s *sampled) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.up, s.waiting, s.held, s.age, s.first, s.toNotify, s.notifying, s.notifyAge, s.lastSuccess, s.lastOfProject, s.linked, s.ready, s.outcomes, s.toDelete, s.notDeleted, s.lastRun} {
		if d != nil {
			out <- d
		}
	}
}

// Collect implements prometheus.Collector. It reads all sources in parallel, so that several hanging
// sources cost one timeout.
func (s *sampled) Collect(out chan<- prometheus.Metric) {
	s.mu.Lock()
	sources := s.sources
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, source := range sources {
		all.Go(func() { source(out) })
	}
	all.Wait()
}

func (s *sampled) add(source func(chan<- prometheus.Metric)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(s.sources[:len(s.sources):len(s.sources)], source)
}

// SampleQueue adds the fill level of a queue: "requests" or "intake".
func (t *Telemetry) SampleQueue(queue string, look func(context.Context) (Backlog, error)) {
	s := t.metrics.sampled
	addSource(s, queue, newSampler(sampleEvery, look), func(out chan<- prometheus.Metric, b Backlog) {
		out <- prometheus.MustNewConstMetric(s.waiting, prometheus.GaugeValue, float64(b.Waiting), queue)
		out <- prometheus.MustNewConstMetric(s.held, prometheus.GaugeValue, float64(b.Held), queue)
		out <- prometheus.MustNewConstMetric(s.age, prometheus.GaugeValue, age(b.Oldest), queue)
		out <- prometheus.MustNewConstMetric(s.first, prometheus.GaugeValue, age(b.First), queue)
	})
}

// SampleNotifier adds the waiting notifications of one channel.
func (t *Telemetry) SampleNotifier(channel string, look func(context.Context) (Backlog, error)) {
	s := t.metrics.sampled
	addSource(s, channel, newSampler(sampleEvery, look), func(out chan<- prometheus.Metric, b Backlog) {
		out <- prometheus.MustNewConstMetric(s.toNotify, prometheus.GaugeValue, float64(b.Waiting), channel)
		out <- prometheus.MustNewConstMetric(s.notifying, prometheus.GaugeValue, float64(b.Held), channel)
		out <- prometheus.MustNewConstMetric(s.notifyAge, prometheus.GaugeValue, age(b.Oldest), channel)
	})
}

// SampleSuccesses adds the times of the last completed exports. look returns a time for each project
// id if perProject, else one time under "".
func (t *Telemetry) SampleSuccesses(look func(ctx context.Context, perProject bool) (map[string]time.Time, error)) {
	s := t.metrics.sampled
	ask := func(ctx context.Context) (map[string]time.Time, error) { return look(ctx, t.config.PerProject) }
	addSource(s, "ledger", newSampler(successEvery, ask), func(out chan<- prometheus.Metric, ended map[string]time.Time) {
		var newest time.Time
		for project, at := range ended {
			if at.After(newest) {
				newest = at
			}
			if s.lastOfProject != nil {
				out <- prometheus.MustNewConstMetric(s.lastOfProject, prometheus.GaugeValue, seconds(at), project)
			}
		}
		if !newest.IsZero() {
			out <- prometheus.MustNewConstMetric(s.lastSuccess, prometheus.GaugeValue, seconds(newest))
		}
	})
}

// Retention is the state of the deletion of exports.
type Retention struct {
	Waiting int       // to be deleted
	Failing int       // of these, refused by a destination
	LastRun time.Time // end of the last complete run; zero: none
}

// SampleRetention adds the state of retention.
func (t *Telemetry) SampleRetention(look func(context.Context) (Retention, error)) {
	s := t.metrics.sampled
	addSource(s, "retention", newSampler(successEvery, look), func(out chan<- prometheus.Metric, r Retention) {
		out <- prometheus.MustNewConstMetric(s.toDelete, prometheus.GaugeValue, float64(r.Waiting))
		out <- prometheus.MustNewConstMetric(s.notDeleted, prometheus.GaugeValue, float64(r.Failing))
		if !r.LastRun.IsZero() {
			out <- prometheus.MustNewConstMetric(s.lastRun, prometheus.GaugeValue, seconds(r.LastRun))
		}
	})
}

// ShowConnection adds whether the process is connected to the broker. connected must not block.
func (t *Telemetry) ShowConnection(connected func() bool) {
	s := t.metrics.sampled
	s.add(func(out chan<- prometheus.Metric) {
		out <- prometheus.MustNewConstMetric(s.linked, prometheus.GaugeValue, number(connected()))
	})
}

// ShowHealth adds whether the process is ready, and how many outcomes the broker does not accept.
// The functions must not block.
func (t *Telemetry) ShowHealth(ready func() bool, outcomes func() int) {
	s := t.metrics.sampled
	s.add(func(out chan<- prometheus.Metric) {
		out <- prometheus.MustNewConstMetric(s.ready, prometheus.GaugeValue, number(ready()))
		out <- prometheus.MustNewConstMetric(s.outcomes, prometheus.GaugeValue, float64(outcomes()))
	})
}

func addSource[T any](s *sampled, source string, from *sampler[T], show func(chan<- prometheus.Metric, T)) {
	s.add(func(out chan<- prometheus.Metric) {
		v, ok := from.get()
		out <- prometheus.MustNewConstMetric(s.up, prometheus.GaugeValue, number(ok), source)
		if ok {
			show(out, v)
		}
	})
}

func age(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(0, time.Since(at).Seconds()) // the broker's clock may be ahead
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// sampler caches the newest value of a source that may be slow or unreachable. One of any number of
// callers reads the source, at most once in every; the others get the cached value.
type sampler[T any] struct {
	look  func(context.Context) (T, error)
	every time.Duration

	looking sync.Mutex // held during a read of the source

	mu    sync.Mutex
	value T
	ok    bool
	next  time.Time // no read before this time
}

func newSampler[T any](every time.Duration, look func(context.Context) (T, error)) *sampler[T] {
	return &sampler[T]{look: look, every: every}
}

// get returns the cached value, and false if the last read of the source failed.
func (s *sampler[T]) get() (T, bool) {
	if s.due() && s.looking.TryLock() {
		defer s.looking.Unlock()
		if s.due() { // another scrape may have read it in between
			s.ask()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.ok
}

func (s *sampler[T]) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !time.Now().Before(s.next)
}

func (s *sampler[T]) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), sampleTimeout)
	defer cancel()
	v, err := s.look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.ok, s.next = v, err == nil, time.Now().Add(s.every)
}

package telemetry

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// pageEvery is how long one rendering answers all scrapes. Rendering takes milliseconds; so
// a thousand scrapes a second cost four renderings, and none is turned away: a scraper that
// runs wild must not hide the worker from the others.
const pageEvery = 250 * time.Millisecond

// Handler answers scrapes in Prometheus's text format. It keeps one page; use one handler for
// all scrapes.
func (t *Telemetry) Handler() http.Handler { return &pages{from: t.registry} }

type pages struct {
	from prometheus.Gatherer

	mu   sync.Mutex
	page []byte
	err  error
	next time.Time // not to be rendered before
}

// ServeHTTP implements http.Handler.
func (p *pages) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	page, err := p.current()
	if err != nil {
		http.Error(w, "the metrics could not be gathered: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	_, _ = w.Write(page) // the client has gone
}

func (p *pages) current() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.next) {
		return p.page, p.err
	}
	families, err := p.from.Gather()
	var b bytes.Buffer
	for _, f := range families {
		if err == nil {
			_, err = expfmt.MetricFamilyToText(&b, f)
		}
	}
	p.page, p.err, p.next = b.Bytes(), err, time.Now().Add(pageEvery)
	return p.page, p.err
}

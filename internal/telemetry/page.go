package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler answers scrapes in Prometheus's text format or in OpenMetrics, as the scraper asks.
// Scrapes that arrive while another one gathers share what it finds: a scraper that runs wild
// does not hide the worker from the others. Use one handler for all scrapes.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, CoalesceGather: true})
}

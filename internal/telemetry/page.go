package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves scrapes in the text format of Prometheus or in OpenMetrics, by the Accept header.
// Scrapes that arrive while another one gathers share its result, so that one aggressive client does
// not block the others. Use one handler for all scrapes.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, CoalesceGather: true})
}

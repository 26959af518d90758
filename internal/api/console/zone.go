package console

import (
	"net/http"
	"time"
)

// zoneCookie holds the name of the viewer's time zone. The script sets it.
const zoneCookie = "pgcourier-zone"

// zoneOf returns the viewer's time zone. Default: UTC, also for a zone that this process does not know.
func zoneOf(r *http.Request) *time.Location {
	c, err := r.Cookie(zoneCookie)
	if err != nil || len(c.Value) > 64 || c.Value == "Local" {
		return time.UTC
	}
	zone, err := time.LoadLocation(c.Value) // it refuses a path
	if err != nil {
		return time.UTC
	}
	return zone
}

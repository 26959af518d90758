package config

import (
	"maps"
	"slices"
	"strings"
)

// withoutServiceLinks drops what Kubernetes puts into every container's environment for a
// Service with a name that begins with pgcourier ("docker links": PGCOURIER_SERVICE_HOST,
// PGCOURIER_PORT_8080_TCP_ADDR ...). Such a Service has a host, a port, and a URL of that port;
// a misspelt setting has not.
func withoutServiceLinks(values map[string]string) map[string]string {
	const host, port = "_SERVICE_HOST", "_SERVICE_PORT"
	var services []string
	for name := range values {
		service, ok := strings.CutSuffix(name, host)
		if ok && strings.HasPrefix(service+"_", Prefix) && values[service+port] != "" {
			services = append(services, service)
		}
	}
	maps.DeleteFunc(values, func(name, value string) bool {
		return slices.ContainsFunc(services, func(s string) bool { return isServiceLink(s, name, value) })
	})
	return values
}

func isServiceLink(service, name, value string) bool {
	rest, ok := strings.CutPrefix(name, service+"_")
	switch {
	case !ok:
		return false
	case rest == "SERVICE_HOST", rest == "SERVICE_PORT", strings.HasPrefix(rest, "SERVICE_PORT_"):
		return true
	case rest == "PORT": // PGCOURIER_NATS_PORT is a setting as well, and a number then
		return strings.Contains(value, "://")
	}
	port, ok := strings.CutPrefix(rest, "PORT_")
	return ok && port != "" && port[0] >= '0' && port[0] <= '9'
}

package api

import (
	"context"
	"net/http"
)

// GiveUp runs what Tidy does from time to time.
func (a *API) GiveUp(ctx context.Context) error { return a.giveUp(ctx, lostAfter) }

// Document returns the OpenAPI document of a version, without an API.
func Document(version string) ([]byte, error) {
	a := &API{Config: Config{Version: version}}
	return document(a.register(http.NewServeMux()).OpenAPI())
}

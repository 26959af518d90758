package api

import (
	"context"
	"net/http"
)

// GiveUp lets tests make what Tidy does now and then.
func (a *API) GiveUp(ctx context.Context) error { return a.giveUp(ctx, lostAfter) }

// Document returns the OpenAPI document of a version, without an API.
func Document(version string) ([]byte, error) {
	a := &API{Config: Config{Version: version}}
	return document(a.register(http.NewServeMux()).OpenAPI())
}

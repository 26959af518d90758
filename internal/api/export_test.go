package api

import "context"

// GiveUp lets tests make what Tidy does now and then.
func (a *API) GiveUp(ctx context.Context) error { return a.giveUp(ctx, lostAfter) }

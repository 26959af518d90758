package storage

import (
	"context"
	"fmt"
	"iter"
)

// Keys yields the key of every complete export, in no order, without reading a manifest.
// An error ends the sequence; it is a Fault.
func (r *Repository) Keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for key, err := range r.catalog.keys(ctx) {
			if err != nil {
				err = asFault(fmt.Errorf("list: %w", err))
			}
			if !yield(key, err) || err != nil {
				return
			}
		}
	}
}

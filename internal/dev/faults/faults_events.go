package main

import (
	"context"
	"math/rand/v2"
)

func eventFaults() []fault {
	return []fault{
		{
			name: "event-hundredfold", about: "the same message a hundred times, between all others", unpublished: true, firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				w.heal()
				const copies = 100
				for n := range copies {
					if err := w.publishAgain(ctx, w.jobs[0]); err != nil {
						return err
					}
					if n < len(w.jobs) {
						if err := w.publish(ctx, w.jobs[n:n+1]); err != nil {
							return err
						}
					}
				}
				if len(w.jobs) > copies {
					return w.publish(ctx, w.jobs[copies:])
				}
				return nil
			},
		},
		{
			name: "event-reordered", about: "every message three times, in a random order, at two workers at once", unpublished: true, firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				w.heal()
				var all []job
				for range 3 {
					all = append(all, w.jobs...)
				}
				rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) //nolint:gosec // any order will do
				for _, j := range all {
					if err := w.publishAgain(ctx, j); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name: "event-again-after-the-end", about: "every message once more after its outcome", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if err := w.finished(ctx, len(w.jobs)); err != nil {
					return err
				}
				w.heal()
				for _, j := range w.jobs {
					if err := w.publishAgain(ctx, j); err != nil {
						return err
					}
				}
				return nil
			},
		},
	}
}

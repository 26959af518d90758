package main

import (
	"fmt"
	"slices"
)

// stat is a figure over several rounds.
type stat struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

// over returns the stat of values; the zero stat for no values.
func over(values []float64) stat {
	if len(values) == 0 {
		return stat{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return stat{Median: quantile(sorted, 0.5), Min: sorted[0], Max: sorted[len(sorted)-1], Rounds: len(sorted)}
}

// quantile interpolates between the neighbours of a place in sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// text writes the median with its range, with the given number of decimals.
func (s stat) text(decimals int) string {
	if s.Rounds == 0 {
		return "–"
	}
	if s.Rounds == 1 {
		return fmt.Sprintf("%.*f", decimals, s.Median)
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", decimals, s.Median, decimals, s.Min, decimals, s.Max)
}

// each applies f to pairs of values of the same round.
func each(a, b []float64, f func(a, b float64) float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = f(a[i], b[i])
	}
	return out
}

// ratio divides two variants' values round by round.
func ratio(a, b []float64) stat {
	return over(each(a, b, func(a, b float64) float64 { return a / b }))
}

// difference subtracts them.
func difference(a, b []float64) stat {
	return over(each(a, b, func(a, b float64) float64 { return a - b }))
}

// figure is a named figure and its target, if there is one.
type figure struct {
	Name    string  `json:"name"`
	Text    string  `json:"text"`
	Value   stat    `json:"value"`
	Unit    string  `json:"unit,omitempty"` // empty: a ratio
	Limit   float64 `json:"limit,omitempty"`
	Kind    bound   `json:"kind,omitempty"`
	Verdict string  `json:"verdict,omitempty"`
}

// bound says on which side of the limit the target is met.
type bound string

const (
	none    bound = ""
	atMost  bound = "at most"
	atLeast bound = "at least"
	below   bound = "below"
)

// judged sets the verdict. Without a value there is none.
func (r figure) judged() figure {
	if r.Kind == none {
		return r
	}
	v, kept := r.Value.Median, false
	switch r.Kind {
	case atMost:
		kept = v <= r.Limit
	case atLeast:
		kept = v >= r.Limit
	case below:
		kept = v < r.Limit
	case none:
	}
	switch {
	case r.Value.Rounds == 0:
		r.Verdict = "not measured"
	case kept:
		r.Verdict = "met"
	default:
		r.Verdict = "missed"
	}
	return r
}

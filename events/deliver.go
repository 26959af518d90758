package events

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// DeliverAfter is when the link of a request is issued.
type DeliverAfter string

// The rules of delivery.
const (
	AfterCompleted DeliverAfter = "completed" // once the export is stored; the default
	AfterVerified  DeliverAfter = "verified"  // once a verifier has restored it
)

// The bounds of Deliver.TTL.
const (
	DefaultTTL = 7 * 24 * time.Hour
	MinTTL     = time.Minute
	MaxTTL     = 366 * 24 * time.Hour
)

// Deliver asks for a download link of the export, which the notices carry. The zero value
// of each field means that it is absent.
type Deliver struct {
	// TTL is how long the link is valid from when it is issued: a whole number and s, m, h or
	// d, MinTTL to MaxTTL. Default: "7d".
	TTL string `json:"ttl,omitempty"`
	// MaxDownloads is how often the file can be fetched. 0: no limit.
	MaxDownloads int `json:"max_downloads,omitzero"`
	// After defaults to AfterCompleted.
	After DeliverAfter `json:"after,omitempty"`
}

// Lifetime returns TTL as a duration: DefaultTTL when it is absent, 0 when it is malformed.
func (d Deliver) Lifetime() time.Duration {
	if d.TTL == "" {
		return DefaultTTL
	}
	ttl, _ := ParseTTL(d.TTL)
	return ttl
}

// ParseTTL reads a Deliver.TTL. It is false for what is malformed or out of bounds.
func ParseTTL(s string) (time.Duration, bool) {
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	ttl := time.Duration(n) * units[s[len(s)-1:]]
	if err != nil || n > uint64(MaxTTL/time.Second) || ttl < MinTTL || ttl > MaxTTL {
		return 0, false
	}
	return ttl, true
}

// FormatTTL writes a duration of whole seconds as a Deliver.TTL, in the largest unit that
// leaves no rest.
func FormatTTL(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// normal returns d with its defaults and one spelling of its TTL; nil for nil.
func (d *Deliver) normal() *Deliver {
	if d == nil {
		return nil
	}
	n := *d
	n.TTL = FormatTTL(n.Lifetime())
	if n.After == "" {
		n.After = AfterCompleted
	}
	return &n
}

// checkDeliver checks the bounds of a TTL, which the schema cannot express.
func checkDeliver(doc map[string]any) error {
	deliver, _ := doc["deliver"].(map[string]any)
	if ttl, ok := deliver["ttl"].(string); ok {
		if _, valid := ParseTTL(ttl); !valid {
			return invalid("deliver.ttl", "must be from 1 minute to 366 days")
		}
	}
	return nil
}

// canonicalRecipients returns public keys without comments, sorted, each once.
func canonicalRecipients(in []string) []string {
	out := make([]string, 0, len(in))
	for _, key := range in {
		if kind, rest, ssh := strings.Cut(key, " "); ssh {
			blob, _, _ := strings.Cut(rest, " ")
			key = kind + " " + blob
		}
		out = append(out, key)
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 {
		return nil // as absent, which is how it is written
	}
	return out
}

package apifuzz

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// hostile are texts that can break parsers, databases, logs and file systems.
var hostile = []string{
	"", " ", ".", "..", "../../etc/passwd", "a/b", `a\b`, "%00", "%2e%2e", "%", "%zz", "\x00", "a\x00b", "\r\nX-Injected: 1", "\n", "\t",
	"\x1b[31mred", "null", "undefined", "true", "NaN", "Infinity", "-1", "0", "1e309", "9223372036854775808", "18446744073709551616",
	"'", `"`, "';SELECT pg_sleep(9)--", "$(id)", "`id`", "${jndi:ldap://x}", "{{7*7}}", "<script>alert(1)</script>", "*", ">", "a.b", "_",
	"\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "é", "e\u0301", "\u202e", "\ufeff", "\u0000", "東京", "😀", "ﬀ", "İ", "\u2028", "A", "ACME", "acme ",
	"0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "10000-01-01T00:00:00Z",
	"2026-02-30T00:00:00Z", "2026-01-01T00:00:00+25:00", "infinity", "-infinity", "2026-01-01",
	strings.Repeat("a", 101), strings.Repeat("x", 5000), strings.Repeat("é", 400), strings.Repeat("%41", 300),
}

// known are valid texts by the name of their parameter or field.
var known = map[string][]string{
	"project": {"acme", "acme", "acme", "acme", "globex", "quoted", "unborn", "nobody", "dormant"}, "project_id": {"acme"},
	"name": {"nightly", "weekly", "s-1"}, "cron": {"0 3 * * *", "@daily", "@every 6h", "0 0 3 1 1 *", "60 * * * *", "@every 1ns", "0 0 31 2 *", "* * * * *"},
	"time_zone": {"Europe/Berlin", "UTC", "", "Local", "Mars/Olympus", "../UTC"}, "ttl": {"48h", "1m", "366d", "59s", "0h", "-1h", "9999999d"},
	"notify_email": {"a@example.com", "a@b", "x\r\ny@example.com"}, "since": {"2026-01-01T00:00:00Z", "2096-01-01T00:00:00Z"},
	"requested_by": {"fuzz"}, "storage_path": {"a/b", "monthly"}, "replay_of": {"f-1"}, "state": {"waiting", "running", "completed", "failed", "cancelled", "completed,failed"},
	"limit": {"1", "50", "200"}, "of": {"export", "verification"}, "link": {"lnk_x"}, "traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	"recipients": {"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}, "schemas": {"tenant_acme", "tenant_globex", "public"},
	"cursor": {
		"eyJ0IjoiMjAyNi0wMS0wMVQwMDowMDowMFoiLCJyIjoieCJ9", "eyJhIjp0cnVlLCJ0IjoiMDAwMC0wMS0wMVQwMDowMDowMFoiLCJyIjoieCJ9", // a time, and the year 0
		"eyJ0IjoiOTk5OS0xMi0zMVQyMzo1OTo1OVoiLCJyIjoieCJ9", "eyJ0IjoiMDAwMS0wMS0wMVQwMDowMDowMVoiLCJyIjoieCJ9", // the years 9999 and 1
	},
}

// requestIDs is the number of different request ids.
const requestIDs = 30

// text returns a text for a parameter or a field.
func (g *generator) text(name string) string {
	switch {
	case g.one(10):
		return pick(g.rand, hostile)
	case name == "id" || name == "request_id" || name == "Idempotency-Key" || name == "replay_of" && g.one(2):
		return fmt.Sprintf("f-%d", g.rand.IntN(requestIDs))
	case name == "link" && len(g.links) > 0:
		return pick(g.rand, g.links)
	case known[name] != nil:
		return pick(g.rand, known[name])
	}
	return pick(g.rand, []string{"a", "text", "1", "2026-01-01T00:00:00Z", "OPS-42"})
}

// value returns a value for a schema, usually a valid one.
func (g *generator) value(name string, schema map[string]any, depth int) any {
	if g.one(25) || depth > 8 {
		return g.odd()
	}
	schema = g.document.resolve(schema)
	for _, of := range []string{"oneOf", "anyOf"} {
		if all, ok := schema[of].([]any); ok && len(all) > 0 {
			if one, ok := pick(g.rand, all).(map[string]any); ok {
				return g.value(name, one, depth+1)
			}
		}
	}
	if all, ok := schema["enum"].([]any); ok && !g.one(15) {
		return pick(g.rand, all)
	}
	kind, _ := schema["type"].(string)
	switch kind {
	case "object":
		return g.object(schema, depth)
	case "array":
		items, _ := schema["items"].(map[string]any)
		out := []any{}
		for range pick(g.rand, []int{0, 1, 1, 2, 3, 12}) {
			out = append(out, g.value(name, items, depth+1))
		}
		return out
	case "integer", "number":
		return pick(g.rand, []any{1, 2, 3, 0, -1, 16, 17, 1.5, 1e18, json.Number("1e400"), json.Number("9223372036854775808"), 1_000_001})
	case "boolean":
		return g.one(2)
	case "null":
		return nil
	}
	return g.text(name)
}

func (g *generator) object(schema map[string]any, depth int) map[string]any {
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if of, ok := properties[name].(map[string]any); ok && (g.one(5) || slices.Contains(required, any(name)) && !g.one(20)) {
			out[name] = g.value(name, of, depth+1)
		}
	}
	if schema["additionalProperties"] != false && g.one(2) || g.one(20) {
		out[g.text("")] = g.text("")
	}
	return out
}

// odd returns a value of any type.
func (g *generator) odd() any {
	return pick(g.rand, []any{
		nil, true, 0, -1, 1.5, json.Number("1e400"), "", pick(g.rand, hostile), []any{}, []any{nil}, map[string]any{}, map[string]any{"": map[string]any{}},
	})
}

func (g *generator) one(in int) bool { return g.rand.IntN(in) == 0 }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// State says how what was found is.
type State string

// The states. Only Fault and Unreachable say that something does not work.
const (
	// OK says that it is as it must be.
	OK State = "ok"
	// Warning says that it works, and that an operator should look at it.
	Warning State = "warning"
	// Fault says that it does not work, and will not until an operator acts.
	Fault State = "fault"
	// Unreachable says that the other side gave no answer, which may pass by itself.
	Unreachable State = "unreachable"
	// Unknown says that it cannot be seen from here.
	Unknown State = "unknown"
	// Skipped says that it is not set up, or that what it depends on was not reached.
	Skipped State = "skipped"
)

// Finding is one line of the result.
type Finding struct {
	Check  string `json:"check"` // check/part, such as "broker/clock"
	State  State  `json:"state"`
	Found  string `json:"found"`         // what was seen or is wrong: one line, no secret
	Fix    string `json:"fix,omitempty"` // what to do; never empty for Warning, Fault and Unreachable
	*Drift        // the objects of a finding of drift; nil: none
}

// MarshalJSON implements json.Marshaler. It writes Fix under its earlier name "mend" too.
func (f Finding) MarshalJSON() ([]byte, error) {
	type plain Finding
	return json.Marshal(struct {
		plain

		Mend string `json:"mend,omitempty"`
	}{plain(f), f.Fix})
}

// Check is one thing to look at.
type Check struct {
	Name string
	// Run looks, and reports until ctx ends. It may report nothing.
	Run func(ctx context.Context, r *Report)
	// Timeout bounds it in place of Bounds.Timeout. Default: that.
	Timeout time.Duration
}

// Bounds says how checks are run.
type Bounds struct {
	// Timeout bounds each check. Default: DefaultTimeout.
	Timeout time.Duration
	// Grace is how long a check may take after its time is over to report what it saw. Then it
	// is left behind. Default: DefaultGrace.
	Grace time.Duration
	// Secrets are taken out of every finding, should one get there. Those of fewer than
	// six characters are not looked for: they would be found in everything.
	Secrets []string
}

// The defaults of Bounds.
const (
	DefaultTimeout = 20 * time.Second
	DefaultGrace   = 2 * time.Second
)

// Run runs all checks at once and returns their findings in the order of the checks.
func Run(ctx context.Context, b Bounds, checks []Check) []Finding {
	b.Timeout, b.Grace = cmp.Or(b.Timeout, DefaultTimeout), cmp.Or(b.Grace, DefaultGrace)
	reports := make([]*Report, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		reports[i] = &Report{check: check.Name}
		all.Go(func() { b.run(ctx, check, reports[i]) })
	}
	all.Wait()
	out := []Finding{}
	for _, r := range reports {
		for _, f := range r.findings {
			out = append(out, b.clean(f))
		}
	}
	return out
}

func (b Bounds) run(ctx context.Context, check Check, r *Report) {
	timeout := cmp.Or(check.Timeout, b.Timeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		check.Run(ctx, r)
	}()
	select {
	case <-done:
		r.end(nil)
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(b.Grace)
	defer late.Stop()
	select {
	case <-done:
		r.end(nil)
	case <-late.C:
		r.end(&Finding{State: Unreachable, Found: "no answer within " + timeout.String(), Fix: "see why the other side does not answer"})
	}
}

// longest bounds what is said, in characters.
const longest = 500

// clean makes a finding one line of bounded length without any of the secrets.
func (b Bounds) clean(f Finding) Finding {
	for _, text := range []*string{&f.Check, &f.Found, &f.Fix} {
		for _, s := range b.Secrets {
			const shortest = 6
			if len(s) >= shortest {
				*text = strings.ReplaceAll(*text, s, "***")
			}
		}
		*text = strings.Join(strings.Fields(strings.ToValidUTF8(*text, "\uFFFD")), " ")
		if runes := []rune(*text); len(runes) > longest {
			*text = string(runes[:longest-1]) + "…"
		}
	}
	return f
}

// Report is what one check found. It is safe for concurrent use.
type Report struct {
	check string

	mu       sync.Mutex
	findings []Finding
	ended    bool
}

// Add reports one finding about a part of what is checked; "" is the whole. Findings that come
// after the check was left behind are dropped.
func (r *Report) Add(part string, f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	f.Check = r.check
	if part != "" {
		f.Check += "/" + part
	}
	r.findings = append(r.findings, f)
}

// OK reports that a part is as it must be.
func (r *Report) OK(part, format string, args ...any) {
	r.Add(part, Finding{State: OK, Found: fmt.Sprintf(format, args...)})
}

// Skip reports that a part was not looked at, and why.
func (r *Report) Skip(part, why string) { r.Add(part, Finding{State: Skipped, Found: why}) }

// end closes the report, with a last finding if there is one.
func (r *Report) end(last *Finding) {
	if last != nil {
		r.Add("", *last)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// Selected reports whether name, of a check or a finding, is meant by one of the names in
// only: itself, what is above it, or what is below it. None mean all.
func Selected(name string, only []string) bool {
	for _, o := range only {
		if name == o || strings.HasPrefix(name, o+"/") || strings.HasPrefix(o, name+"/") {
			return true
		}
	}
	return len(only) == 0
}

package console

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
)

// examination is the last result of the checks. Two callers do not run them at the same time.
type examination struct {
	mu       sync.Mutex
	running  bool
	findings []Finding
	at       time.Time // zero: they have not run
}

// examineTimeout bounds the checks, below the minute that an answer may take.
const examineTimeout = 45 * time.Second

var errExamining = errors.New("the checks run already")

// run runs the checks. It does not end with ctx: all callers get its result, so it must not depend on the
// browser of one.
func (x *examination) run(ctx context.Context, examine func(context.Context) []Finding) error {
	if !x.begin() {
		return errExamining
	}
	defer x.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), examineTimeout)
	defer cancel()
	found := examine(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.findings, x.at = found, time.Now()
	return nil
}

// begin returns false if the checks run.
func (x *examination) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running {
		return false
	}
	x.running = true
	return true
}

// end follows begin, also after a panic of the checks.
func (x *examination) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = false
}

// healthData is the content of the page of health.
type healthData struct {
	Findings  []Finding // those to act on first
	At        time.Time
	Running   bool
	None      bool // this process has no checks
	All       bool // the caller may see what concerns all projects
	Bad, Mild int
}

func (v *view) healthPage() error {
	if err := v.Require(api.Examine); err != nil {
		return err
	}
	x := &v.console.health
	x.mu.Lock()
	d := healthData{At: x.at, Running: x.running, None: v.console.Examine == nil, All: v.All(api.Examine)}
	found := x.findings
	x.mu.Unlock()
	f := frame{Title: "Health", Tab: "Health"}
	if d.All {
		for _, class := range []string{"bad", "mild", "other"} {
			for _, one := range found {
				if c := classOf(one); c == class {
					d.Findings = append(d.Findings, one)
					d.Bad, d.Mild = d.Bad+count1(c == "bad"), d.Mild+count1(c == "mild")
				}
			}
		}
	}
	f.Body = d
	return v.show("health", f)
}

func classOf(f Finding) string {
	if c := class(f.State); c == "bad" || c == "mild" {
		return c
	}
	return "other"
}

func count1(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// examine runs the checks.
func (v *view) examine() error {
	// The findings name servers, storages and projects of everyone.
	if err := v.Require(api.Examine, "*"); err != nil {
		return err
	}
	if v.console.Examine == nil {
		return errNoPage
	}
	if err := v.console.health.run(v.r.Context(), v.console.Examine); errors.Is(err, errExamining) {
		return v.redirect(pathOf("health"), "")
	}
	return v.redirect(pathOf("health"), "examined")
}

package doctor_test

import (
	"context"
	"crypto/x509"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/doctor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A check that hangs is named after its time, with what it found until then; the others'
// findings are all there, in the checks' order.
func TestACheckThatHangsBlocksNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		begun := time.Now()
		got := doctor.Run(t.Context(), doctor.Bounds{Timeout: 5 * time.Second}, []doctor.Check{
			{Name: "hanging", Run: func(_ context.Context, r *doctor.Report) {
				r.OK("first", "it answered once")
				<-release
				r.OK("late", "after the timeout")
			}},
			{Name: "slow", Timeout: 6 * time.Second, Run: func(ctx context.Context, r *doctor.Report) {
				<-ctx.Done()
				r.Add("", doctor.Finding{State: doctor.Unreachable, Found: ctx.Err().Error(), Fix: "wait"})
			}},
			{Name: "quick", Run: func(_ context.Context, r *doctor.Report) { r.Skip("", "not set up") }},
			{Name: "silent", Run: func(context.Context, *doctor.Report) {}},
		})
		if took := time.Since(begun); took != 5*time.Second+doctor.DefaultGrace {
			t.Errorf("took %s", took)
		}
		close(release)
		synctest.Wait()
		want := []doctor.Finding{
			{Check: "hanging/first", State: doctor.OK, Found: "it answered once"},
			{Check: "hanging", State: doctor.Unreachable, Found: "no answer within 5s", Fix: "see why the other side does not answer"},
			{Check: "slow", State: doctor.Unreachable, Found: "context deadline exceeded", Fix: "wait"},
			{Check: "quick", State: doctor.Skipped, Found: "not set up"},
		}
		if !slices.Equal(got, want) {
			t.Errorf("found %+v", got)
		}
	})
}

func TestNoFindingHoldsASecretOrASecondLine(t *testing.T) {
	t.Parallel()
	got := doctor.Run(t.Context(), doctor.Bounds{Secrets: []string{"canary-9", "", "w"}}, []doctor.Check{
		{Name: "a", Run: func(_ context.Context, r *doctor.Report) {
			r.Add("b canary-9", doctor.Finding{State: doctor.Fault, Found: "password canary-9\nrefused \xff", Fix: strings.Repeat("w", 600)})
		}},
	})
	want := doctor.Finding{Check: "a/b ***", State: doctor.Fault, Found: "password *** refused \uFFFD", Fix: strings.Repeat("w", 499) + "…"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("found %+v", got)
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		only []string
		want bool
	}{
		{"broker", nil, true}, {"broker", []string{"broker"}, true}, {"broker/clock", []string{"broker"}, true},
		{"broker", []string{"broker/clock"}, true}, {"broker/limits", []string{"broker/clock"}, false},
		{"database", []string{"data"}, false}, {"storage/s3", []string{"disk", "storage"}, true},
	} {
		if got := doctor.Selected(c.name, c.only); got != c.want {
			t.Errorf("%s of %q: %t", c.name, c.only, got)
		}
	}
}

func TestFiguresAreJudged(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	until := func(d time.Duration) *x509.Certificate { return &x509.Certificate{NotAfter: now.Add(d)} }
	for name, c := range map[string]struct {
		found doctor.Finding
		state doctor.State
		say   string
	}{
		"a clock in step":                 {doctor.Skew("its", time.Second, 0), doctor.OK, "1s ahead of"},
		"a clock that is late":            {doctor.Skew("its", -3*time.Second, time.Millisecond), doctor.Warning, "3s behind"},
		"as late, but measured badly":     {doctor.Skew("its", -3*time.Second, 2*time.Second), doctor.OK, "within 2s"},
		"a clock an hour ahead":           {doctor.Skew("its", time.Hour, time.Second), doctor.Fault, "1h0m0s ahead"},
		"a good certificate":              {doctor.Certificate(until(15*24*time.Hour), now), doctor.OK, "2026-12-08"},
		"one that ends soon":              {doctor.Certificate(until(13*24*time.Hour), now), doctor.Warning, "2026-12-06"},
		"one that ended":                  {doctor.Certificate(until(-time.Second), now), doctor.Fault, "expired"},
		"room":                            {doctor.Room(doctor.Space{Free: 9 << 30, Files: -1}, 3<<30), doctor.OK, "9.0 GiB free; the largest recent export took 3.0 GiB"},
		"room for two":                    {doctor.Room(doctor.Space{Free: 8 << 30, Files: -1}, 3<<30), doctor.Warning, "8.0 GiB"},
		"room for less than one":          {doctor.Room(doctor.Space{Free: 2 << 30, Files: -1}, 3<<30), doctor.Fault, "2.0 GiB"},
		"little, and nothing to compare":  {doctor.Room(doctor.Space{Free: 500 << 20, Files: -1}, 0), doctor.Warning, "500 MiB free"},
		"none":                            {doctor.Room(doctor.Space{Free: 0, Files: -1}, 0), doctor.Fault, "0 B"},
		"no more files":                   {doctor.Room(doctor.Space{Free: 9 << 30, Files: 3}, 0), doctor.Fault, "3 more files"},
		"a key of its owner's":            {doctor.Private("/k", 0o600, true), doctor.OK, "/k"},
		"a key that a group reads":        {doctor.Private("/k", 0o640, true), doctor.Warning, "mode 0640"},
		"a key that was handed over":      {doctor.Private("/k", 0o440, false), doctor.OK, "its group may read"},
		"one that its group may change":   {doctor.Private("/k", 0o660, false), doctor.Warning, "mode 0660"},
		"one that everybody reads":        {doctor.Private("/k", 0o444, false), doctor.Warning, "mode 0444"},
		"a folder that others may search": {doctor.Private("/k", fs.ModeDir|0o701, true), doctor.Warning, "mode 0701"},
	} {
		if c.found.State != c.state || !strings.Contains(c.found.Found, c.say) || (c.found.Fix == "") != (c.state == doctor.OK) {
			t.Errorf("%s: %+v, want %s and %q", name, c.found, c.state, c.say)
		}
	}
}

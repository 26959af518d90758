package doctor

import (
	"context"
	"errors"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// checkSandbox looks whether what handles the contents of exports can be confined here.
func (x *examiner) checkSandbox(ctx context.Context, r *Report) {
	if x.Settings.Sandbox == config.SandboxOff {
		r.Skip("", "SANDBOX=off")
		return
	}
	err := sandbox.Probe(ctx)
	switch {
	case err == nil:
		r.OK("", "psql, pg_restore and the temporary server run in namespaces of their own")
		return
	case !errors.Is(err, sandbox.ErrUnavailable):
		r.Add("", Finding{State: Unknown, Found: err.Error()})
		return
	}
	f := Finding{State: Warning, Found: err.Error(), Fix: sandbox.Remedy()}
	if sandbox.ProbeLandlock(ctx) == nil {
		f.Found = "Landlock confines psql, pg_restore and the temporary server, which is weaker than namespaces: " + f.Found
	}
	if x.Settings.Sandbox == config.SandboxRequire {
		f.State = Fault
	}
	r.Add("", f)
}

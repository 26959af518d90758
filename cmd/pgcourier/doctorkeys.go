package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/sandbox"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// checkKeys looks at the recipients, at the identities, and at who may read what is secret.
func (x *examination) checkKeys(_ context.Context, r *doctor.Report) {
	recipients, err := seal.ParseRecipients(x.config.AgeRecipients)
	switch {
	case err != nil:
		r.Add("recipients", doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: "correct PGCOURIER_AGE_RECIPIENTS"})
	case len(recipients) == 0:
		r.OK("recipients", "none: exports are not encrypted")
	default:
		r.OK("recipients", "exports are encrypted to %d", len(recipients))
	}
	var identities []age.Identity
	unread := false
	for i, file := range x.config.AgeIdentityFiles {
		part := "identity"
		if i > 0 {
			part += "-" + strconv.Itoa(i+1)
		}
		ids, err := readIdentities([]string{file})
		if err != nil {
			unread = true
			r.Add(part, doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: "let this user read it, or correct PGCOURIER_AGE_IDENTITY_FILE"})
			continue
		}
		identities = append(identities, ids...)
		r.OK(part, "%s holds %d", file, len(ids))
	}
	if len(recipients) > 0 && len(identities) > 0 && !unread {
		r.Add("match", match(recipients, identities))
	}
	x.checkModes(r)
}

// match seals nothing to the recipients and opens it with the identities.
func match(recipients []age.Recipient, identities []age.Identity) doctor.Finding {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return doctor.Finding{State: doctor.Fault, Found: "nothing can be encrypted to these recipients: " + err.Error(), Mend: "correct PGCOURIER_AGE_RECIPIENTS"}
	}
	opened, err := age.Decrypt(&sealed, identities...)
	if err == nil {
		_, err = io.Copy(io.Discard, opened)
	}
	if err != nil {
		return doctor.Finding{
			State: doctor.Fault, Found: "no identity opens what is encrypted to the recipients of now",
			Mend: "name the identity of one of PGCOURIER_AGE_RECIPIENTS in PGCOURIER_AGE_IDENTITY_FILE, or correct the recipients",
		}
	}
	return doctor.Finding{State: doctor.OK, Found: "an identity opens what is encrypted now"}
}

// checkModes looks at each file that holds a secret. One that is missing is named by whoever
// needs it.
func (x *examination) checkModes(r *doctor.Report) {
	files := slices.Concat(x.secrets, x.config.AgeIdentityFiles, []string{x.config.NATSCreds, x.config.NATSNKey, x.config.NATSTLSKey, x.config.NATSKey})
	if dir := setup.KeysDir(x.config); dir != "" {
		keys, _ := filepath.Glob(filepath.Join(dir, "*.nk")) // the pattern is sound
		files = append(files, keys...)
	}
	slices.Sort(files)
	seen := 0
	for _, file := range slices.Compact(files) {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		seen++
		if f := doctor.Private(file, info.Mode()); f.State != doctor.OK {
			r.Add("files/"+filepath.Base(file), f)
		}
	}
	r.OK("files", "%d files with secrets were looked at", seen)
}

// checkSandbox looks whether what handles the contents of exports can be confined here.
func (x *examination) checkSandbox(ctx context.Context, r *doctor.Report) {
	if x.config.Sandbox == config.SandboxOff {
		r.Skip("", "SANDBOX=off")
		return
	}
	err := sandbox.Probe(ctx)
	switch {
	case err == nil:
		r.OK("", "psql, pg_restore and the throw-away server run in namespaces of their own")
		return
	case !errors.Is(err, sandbox.ErrUnavailable):
		r.Add("", doctor.Finding{State: doctor.Unknown, Found: err.Error()})
		return
	}
	f := doctor.Finding{State: doctor.Warning, Found: err.Error(), Mend: "let this user make namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone): see docs/hostile-source.md"}
	if x.config.Sandbox == config.SandboxRequire {
		f.State = doctor.Fault
	}
	r.Add("", f)
}

// checkRetention reads the rules for all projects; those of a project's own are its check's.
func (x *examination) checkRetention(ctx context.Context, r *doctor.Report) {
	x.checkDeletions(ctx, r)
	if x.config.Retention == "" {
		r.OK("", "RETENTION is not set: what a project's row does not let go is kept")
		return
	}
	policy, err := retention.Parse(x.config.Retention)
	switch {
	case err != nil:
		r.Add("", doctor.Finding{State: doctor.Fault, Found: "PGCOURIER_RETENTION: " + err.Error(), Mend: "correct it: see docs/retention.md"})
	case !slices.Contains(x.config.Roles, config.RolePruner):
		r.OK("", "%s, by another process: the roles here prune nothing", policy)
	default:
		r.OK("", "%s", policy)
	}
}

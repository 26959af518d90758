package doctor

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// checkKeys looks at the recipients, at the identities, at the keys that processes share, and at the
// modes of files with secrets.
func (x *examiner) checkKeys(ctx context.Context, r *Report) {
	recipients, err := seal.ParseRecipients(x.Settings.AgeRecipients)
	switch {
	case err != nil:
		r.Add("recipients", Finding{State: Fault, Found: err.Error(), Fix: "correct PGCOURIER_AGE_RECIPIENTS"})
	case len(recipients) == 0:
		r.OK("recipients", "none: exports are not encrypted")
	default:
		r.OK("recipients", "exports are encrypted to %d", len(recipients))
	}
	var identities []age.Identity
	unread := false
	for i, file := range x.Settings.AgeIdentityFiles {
		part := "identity"
		if i > 0 {
			part += "-" + strconv.Itoa(i+1)
		}
		ids, err := destinations.ReadIdentities([]string{file})
		if err != nil {
			unread = true
			r.Add(part, Finding{State: Fault, Found: err.Error(), Fix: "let this user read it, or correct PGCOURIER_AGE_IDENTITY_FILE"})
			continue
		}
		identities = append(identities, ids...)
		r.OK(part, "%s holds %d", file, len(ids))
	}
	switch {
	case len(recipients) == 0 || unread:
	case len(identities) > 0:
		r.Add("match", match(seal.Keys(recipients), identities))
	default:
		r.Add("match", x.unproven(ctx))
	}
	x.checkSharedKeys(r)
	x.checkModes(r)
}

// proofLife is how long a verified export is taken for a proof that exports can be opened.
const proofLife = 35 * 24 * time.Hour

// unproven is the finding where no identity is given, as on a worker's machine: the verifier's
// last sound finding is a proof, unless it is old.
func (x *examiner) unproven(ctx context.Context) Finding {
	f := Finding{
		State: Warning, Found: "no identity has been shown to open the exports: none is given, and no export was verified",
		Fix: "where the identity is, run `pgcourier doctor --only keys --age-identity-file FILE` with the same PGCOURIER_AGE_RECIPIENTS, or run a verifier",
	}
	l, err := x.ledger(ctx)
	if err != nil {
		return f
	}
	last, err := l.LastVerified(ctx)
	if err != nil || last.IsZero() {
		return f
	}
	f.Found = "no identity is given; the verifier last opened an export on " + last.UTC().Format(time.DateOnly)
	if x.Now().Sub(last) < proofLife {
		return Finding{State: OK, Found: f.Found}
	}
	return f
}

// match seals nothing to the recipients and opens it with the identities.
func match(recipients []age.Recipient, identities []age.Identity) Finding {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return Finding{State: Fault, Found: "nothing can be encrypted to these recipients: " + err.Error(), Fix: "correct PGCOURIER_AGE_RECIPIENTS"}
	}
	opened, err := age.Decrypt(&sealed, identities...)
	if err == nil {
		_, err = io.Copy(io.Discard, opened)
	}
	if err != nil {
		return Finding{
			State: Fault, Found: "no identity opens what is encrypted to the present recipients",
			Fix: "name the identity of one of PGCOURIER_AGE_RECIPIENTS in PGCOURIER_AGE_IDENTITY_FILE, or correct the recipients",
		}
	}
	return Finding{State: OK, Found: "an identity opens what is encrypted now"}
}

// checkModes looks at each file that holds a secret. A missing one is reported by the check of
// what needs it.
func (x *examiner) checkModes(r *Report) {
	files := slices.Concat(x.Settings.SecretFiles, x.Settings.AgeIdentityFiles, []string{x.Settings.NATSCreds, x.Settings.NATSNKey, x.Settings.NATSTLSKey, x.Settings.NATSKey})
	if dir := setup.KeysDir(x.Settings); dir != "" {
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
		owner, known := info.Sys().(*syscall.Stat_t)
		if f := Private(file, info.Mode(), !known || int(owner.Uid) == os.Geteuid()); f.State != OK {
			r.Add("files/"+filepath.Base(file), f)
		}
	}
	r.OK("files", "%d files with secrets were looked at", seen)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/term"
)

// verified is what verify says of one copy.
type verified struct {
	ID          string `json:"id"`
	Key         string `json:"key"`
	At          string `json:"at"`
	OK          bool   `json:"ok"`
	Error       string `json:"error,omitempty"`
	StoredBytes int64  `json:"stored_bytes,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	SizeBytes   int64  `json:"size_bytes,omitempty"`
	DumpSHA256  string `json:"dump_sha256,omitempty"`
	Tables      int    `json:"tables,omitempty"`
	Rows        int64  `json:"rows,omitempty"`
	DurationMS  int64  `json:"duration_ms,omitempty"`
	// Restored is set when the export was restored and every table counted there.
	Restored *restored `json:"restored,omitempty"`
}

type restored struct {
	ServerVersion string `json:"server_version"`
	DurationMS    int64  `json:"duration_ms"`
	// Unchecked says what could not be tried on the scratch server, and why.
	Unchecked []string `json:"unchecked,omitempty"`
}

func (a *app) verifyCommand() *cobra.Command {
	var rehearse bool
	cmd := &cobra.Command{
		Use:   "verify ID",
		Short: "Read an export back and check all of it",
		Long: "Reads every copy of an export to its end and compares it with its manifest: sizes\n" +
			"and hashes of what is stored, decryption, decompression, the dump's own structure,\n" +
			"and the rows of every table. With --restore it is also restored into a new database\n" +
			"of a scratch server (VERIFY_SCRATCH_URL, or a temporary server on this machine) by\n" +
			"a login that is no superuser, and every table is counted there. What that login may not\n" +
			"do, and what needs objects that the server does not have, is listed: this is not a\n" +
			"fault of the export. It needs neither the broker nor the ledger.\n\n" + idHelp,
		Example: "  pgcourier verify nightly-42 --storage s3://backups/prod\n" +
			"  pgcourier verify acme/nightly-42 -i key.txt --restore --output json",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&rehearse, "restore", false, "restore it into a scratch database too")
	open, _ := a.readingFlags(cmd, "VERIFY_SCRATCH_URL", "PG_BIN_DIR", "SPOOL_DIR", "CLIENT_CHECK", "SANDBOX")
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		x, c, err := open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.Close()) }()
		copies, err := a.find(ctx, x, args[0])
		if err != nil {
			return err
		}
		v := &verification{app: a, exports: x, progress: a.progress()}
		defer v.progress.Close()
		if rehearse {
			if err := service.CheckClients(ctx, c, a.logger(c), restore.Tools()...); err != nil {
				return err
			}
			in, err := scratch.OpenSandbox(ctx, c.Sandbox, a.logger(c))
			if err != nil {
				return err
			}
			v.server, v.restorer = scratch.NewServer(c.VerifyScratchURL, c.PasswordCommand, in), restore.New(x.RestoreConfig(in, a.quietLogger(c)))
			if _, err := v.server.For(ctx, 0); err != nil { // before anything is read
				return err
			}
			return errors.Join(v.run(ctx, copies), v.server.Close())
		}
		return v.run(ctx, copies)
	})
	return cmd
}

// verification is one run of verify.
type verification struct {
	app      *app
	exports  *stored.Exports
	restorer *restore.Restorer
	server   *scratch.Server // nil: only read
	progress *term.Progress
}

// run verifies each copy, and fails with the worst that it found.
func (v *verification) run(ctx context.Context, copies []destinations.Copy) error {
	var all []verified
	var faults []error
	var text strings.Builder
	for _, c := range copies {
		r, err := v.one(ctx, c)
		if err != nil {
			err = stored.WithHint(err)
			r.Error = err.Error()
			faults = append(faults, err)
		} else {
			text.WriteString(r.text(v.app.screen()))
		}
		all = append(all, r)
	}
	v.progress.Close()
	if err := v.app.print(all, text.String()); err != nil {
		return err
	}
	return worst(faults)
}

func (v *verification) one(ctx context.Context, c destinations.Copy) (verified, error) {
	out := verified{ID: c.ID.String(), Key: c.Key, At: c.Destination.Name}
	x, err := v.exports.Export(ctx, c)
	if err != nil {
		return out, err
	}
	var found restore.Evidence
	if v.server == nil {
		found, err = x.Verify(ctx, func(n int64) { v.progress.Bytes("checking", n, x.Manifest.Artifact.StoredBytes) })
	} else {
		to, openErr := v.server.For(ctx, x.Manifest.Artifact.Tables)
		if openErr != nil {
			return out, openErr
		}
		var r restore.Result
		r, err = v.restorer.Rehearse(ctx, x, to, func(p restore.Progress) { v.progress.Bytes(string(p.Stage), p.Stored, p.Total) })
		found, out.Restored = r.Evidence, &restored{r.ServerVersion, r.Took.Milliseconds(), r.Unchecked}
		if _, refused := errors.AsType[*restore.RejectedError](err); refused {
			err = exit(exitUnverified, err)
		}
	}
	if err != nil {
		out.Restored = nil
		return out, fmt.Errorf("%s: %w", c.Destination.Name, err)
	}
	out.OK, out.StoredBytes, out.SHA256 = true, found.StoredBytes, found.SHA256
	out.SizeBytes, out.DumpSHA256 = found.SizeBytes, found.DumpSHA256
	out.Tables, out.Rows, out.DurationMS = len(found.Contents.Tables), found.Contents.Rows(), found.Took.Milliseconds()
	return out, nil
}

func (v verified) text(s term.Screen) string {
	lines := [][2]string{
		{"verified", v.ID + " at " + v.At},
		{"stored", fmt.Sprintf("%d bytes, sha256 %s", v.StoredBytes, v.SHA256)},
		{"dump", fmt.Sprintf("%d bytes, sha256 %s", v.SizeBytes, v.DumpSHA256)},
		{"contents", fmt.Sprintf("%d rows in %d tables, as the manifest says", v.Rows, v.Tables)},
	}
	if v.Restored != nil {
		what := "every table counted there"
		if n := len(v.Restored.Unchecked); n > 0 {
			what = fmt.Sprintf("counted there, but for %d statements and tables that could not be tried, which is no fault of the export", n)
		}
		lines = append(lines, [2]string{"restored", fmt.Sprintf("into PostgreSQL %s in %s, %s",
			v.Restored.ServerVersion, time.Duration(v.Restored.DurationMS)*time.Millisecond, what)})
		for _, u := range v.Restored.Unchecked {
			lines = append(lines, [2]string{"not tried", u})
		}
	}
	return s.Pairs(lines)
}

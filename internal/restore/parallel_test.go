package restore_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/pgversion"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestSeveralConnectionsRestoreToTheSource(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	want, err := contents.Read(t.Context(), connect(t, from), []string{"tenant"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []export.Format{export.Custom, export.Directory} {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Zstd}, "tenant")
		// A name that would be a connection string if a program parsed it as one.
		to := `host=nowhere '\" ` + string(f)
		execute(t, "postgres", `CREATE DATABASE "`+strings.ReplaceAll(to, `"`, `""`)+`"`)
		at := target(t, "postgres")
		at.Source, at.Jobs = at.Source.WithDatabase(to), 3
		got, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		found, err := contents.Read(t.Context(), connectTo(t, at.Source), []string{"tenant"})
		if err != nil {
			t.Fatal(err)
		}
		if diffs := contents.Compare(want, found); len(diffs) > 0 || len(found) < 6 || got.Evidence.Contents.Rows() != 3500 {
			t.Errorf("%s: %v of %d tables, evidence %+v", f, diffs, len(found), got.Evidence)
		}
	}
}

func TestJobsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	for name, c := range map[string]struct {
		format export.Format
		clean  bool
		jobs   int
		sql    string
		want   error
	}{
		"a script":               {export.SQL, false, 2, "", restore.ErrJobs},
		"a tar":                  {export.Tar, false, 2, "", restore.ErrJobs},
		"clean":                  {export.Directory, true, 2, "", restore.ErrJobs},
		"negative":               {export.Directory, false, -1, "", restore.ErrJobs},
		"a schema with contents": {export.Directory, false, 2, "CREATE SCHEMA tenant; CREATE TABLE tenant.precious (i int)", restore.ErrOccupied},
	} {
		x := sealed(t, dump(t, from, c.format, "tenant"), kind{format: c.format, compression: seal.Plain}, "tenant")
		at := target(t, database(t, c.sql))
		at.Clean, at.Jobs = c.clean, c.jobs
		if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if x.opened.Load() != 0 {
			t.Errorf("%s: the export was read", name)
		}
	}
}

// pg_restore sets transaction_timeout from version 17 on, also on a server that refuses it.
func TestJobsOfANewerPgRestoreAreRefusedForAnOlderServer(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	x := sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	at := target(t, database(t, ""))
	at.Jobs = 2
	config := restore.Config{BinDirs: tool(t, "pg_restore", `echo "pg_restore (PostgreSQL) 17.99"`)}
	x.Manifest.Artifact.PgDumpVersion = "17.99"
	_, err := restorer(config).Restore(t.Context(), x.Export, at, nil)
	major := value[int](t, "postgres", "SELECT current_setting('server_version_num')::int / 10000")
	if older := !pgversion.Has(major, pgversion.TransactionTimeout); errors.Is(err, restore.ErrJobs) != older {
		t.Errorf("error = %v; the server is older: %t", err, older)
	}
}

// Until the second pass was equal to the first, the target is unchanged; after that a failure says
// that it is not.
func TestAParallelRestoreThatFails(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	for _, f := range []export.Format{export.Custom, export.Directory} {
		plain := dump(t, from, f, "tenant")
		x := sealed(t, plain, kind{format: f, compression: seal.Plain}, "tenant")
		x.readings(whole, func(b []byte) io.Reader { b[len(b)-2000] ^= 1; return bytes.NewReader(b) })
		to := database(t, "")
		at := target(t, to)
		at.Jobs = 2
		if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); !errors.Is(err, restore.ErrUnverified) || errors.Is(err, restore.ErrPartial) {
			t.Errorf("%s: a changed export gave %v", f, err)
		}
		if value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL") {
			t.Errorf("%s: the target was touched", f)
		}

		x.readings(whole)
		config := restore.Config{BinDirs: tool(t, "pg_restore", `case "$1" in --version) exec `+filepath.Join(cluster.BinDir, "pg_restore")+` "$@";; esac
echo "these are the words" >&2; exit 1`)}
		_, err := restorer(config).Restore(t.Context(), x.Export, at, nil)
		rejected, ok := errors.AsType[*restore.RejectedError](err)
		if !errors.Is(err, restore.ErrPartial) || !ok || !strings.Contains(rejected.Stderr, "these are the words") {
			t.Errorf("%s: a pg_restore that fails gave %v", f, err)
		}
		config.BinDirs = tool(t, "pg_restore", `case "$1" in --version) exec `+filepath.Join(cluster.BinDir, "pg_restore")+` "$@";; esac; exit 0`)
		if _, err := restorer(config).Restore(t.Context(), x.Export, at, nil); !errors.Is(err, restore.ErrPartial) || !errors.Is(err, restore.ErrUnverified) {
			t.Errorf("%s: a pg_restore that does nothing gave %v", f, err)
		}
	}
}

func TestAScratchFolderThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	x := sealed(t, dump(t, from, export.Directory, "tenant"), kind{format: export.Directory, compression: seal.Plain}, "tenant")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	to := database(t, "")
	if _, err := restorer(restore.Config{SpoolDir: file}).Restore(t.Context(), x.Export, target(t, to), nil); !errors.Is(err, restore.ErrScratch) || errors.Is(err, restore.ErrUnverified) {
		t.Errorf("error = %v, want ErrScratch", err)
	}
}

// Files are unpacked into the folder and nowhere else, for any names in the second pass.
func TestAnArchiveThatNamesOtherFilesIsNotUnpacked(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	plain := dump(t, from, export.Directory, "tenant")
	x := sealed(t, plain, kind{format: export.Directory, compression: seal.Plain}, "tenant")
	dir := t.TempDir()
	for _, h := range []tar.Header{
		{Name: "../1.dat", Typeflag: tar.TypeReg}, {Name: "/tmp/1.dat", Typeflag: tar.TypeReg},
		{Name: "1.dat", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "1.dat", Typeflag: tar.TypeLink, Linkname: "toc.dat"},
		{Name: "1.dat", Typeflag: tar.TypeDir}, {Name: ".bashrc", Typeflag: tar.TypeReg},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		b.Write(make([]byte, max(0, len(plain)-b.Len())))
		x.readings(whole, func([]byte) io.Reader { return bytes.NewReader(b.Bytes()) })
		_, err := restorer(restore.Config{SpoolDir: filepath.Join(dir, "spool")}).Restore(t.Context(), x.Export, target(t, database(t, "")), nil)
		if !errors.Is(err, restore.ErrUnverified) || !strings.Contains(err.Error(), "unpack") {
			t.Errorf("%s (%c): %v", h.Name, h.Typeflag, err)
		}
		for _, d := range []string{dir, filepath.Join(dir, "spool")} {
			if found, err := os.ReadDir(d); err != nil || len(found) > 1 || len(found) == 1 && found[0].Name() != "spool" {
				t.Errorf("%s (%c): %s holds %v, %v", h.Name, h.Typeflag, d, found, err)
			}
		}
	}
}

package restore_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestVerifyHoldsTheExportAgainstItsManifest(t *testing.T) {
	t.Parallel()
	plain := dump(t, database(t, sourceSQL), export.SQL, "tenant")
	for name, change := range map[string]func(*export.Artifact){
		"size":    func(a *export.Artifact) { a.SizeBytes++ },
		"stored":  func(a *export.Artifact) { a.StoredBytes-- },
		"hash":    func(a *export.Artifact) { a.SHA256 = "00" + a.SHA256[2:] },
		"tables":  func(a *export.Artifact) { a.Tables++ },
		"rows":    func(a *export.Artifact) { a.Rows++ },
		"schemas": func(a *export.Artifact) { a.Schemas = []string{"another"} },
		"format":  func(a *export.Artifact) { a.Format = export.Custom },
		"packing": func(a *export.Artifact) { a.Compression = seal.Zstd },
	} {
		x := sealed(t, plain, kind{format: export.SQL, compression: seal.Gzip}, "tenant")
		if _, err := x.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		change(x.Manifest.Artifact)
		if _, err := x.Verify(t.Context(), nil); !errors.Is(err, restore.ErrUnverified) {
			t.Errorf("%s: %v, want ErrUnverified", name, err)
		}
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	plain := dump(t, database(t, sourceSQL), export.SQL, "tenant")
	var ids [2]*age.X25519Identity
	for i := range ids {
		var err error
		if ids[i], err = age.GenerateX25519Identity(); err != nil {
			t.Fatal(err)
		}
	}
	x := sealed(t, plain, kind{export.SQL, seal.Gzip, ids[0]}, "tenant")
	for name, c := range map[string]struct {
		with   []age.Identity
		first  func([]byte) io.Reader
		expect error
	}{
		"the right one":            {[]age.Identity{ids[1], ids[0]}, whole, nil},
		"none":                     {nil, whole, restore.ErrIdentity},
		"another":                  {[]age.Identity{ids[1]}, whole, restore.ErrIdentity},
		"the right one, damage":    {[]age.Identity{ids[0]}, func(b []byte) io.Reader { b[len(b)-1] ^= 1; return bytes.NewReader(b) }, restore.ErrUnverified},
		"the right one, no header": {[]age.Identity{ids[0]}, func(b []byte) io.Reader { return bytes.NewReader(b[500:]) }, restore.ErrUnverified},
	} {
		x.Identities = c.with
		x.readings(c.first)
		if _, err := x.Verify(t.Context(), nil); !errors.Is(err, c.expect) {
			t.Errorf("%s: %v, want %v", name, err, c.expect)
		}
	}
}

func TestTheErrorOfTheStorageIsKept(t *testing.T) {
	t.Parallel()
	errGone := errors.New("part 3 is gone")
	x := sealed(t, dump(t, database(t, sourceSQL), export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Gzip}, "tenant")
	for _, at := range []int{0, 10, 4000, len(x.bytes)} {
		x.readings(func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b[:at]), iotest.ErrReader(errGone)) })
		if _, err := x.Verify(t.Context(), nil); !errors.Is(err, errGone) || errors.Is(err, restore.ErrUnverified) {
			t.Errorf("at %d: %v, want the storage's", at, err)
		}
	}
}

func TestEveryFlipAndCutIsFound(t *testing.T) {
	t.Parallel()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	from := database(t, sourceSQL)
	var all []*stored
	for _, f := range formats {
		all = append(all, sealed(t, dump(t, from, f, "tenant"), kind{f, seal.Gzip, nil}, "tenant"),
			sealed(t, dump(t, from, f, "tenant"), kind{f, seal.Plain, nil}, "tenant"),
			sealed(t, dump(t, from, f, "tenant"), kind{f, seal.Zstd, id}, "tenant"))
	}
	rapid.Check(t, func(r *rapid.T) {
		x := all[rapid.IntRange(0, len(all)-1).Draw(r, "export")]
		at := rapid.IntRange(0, len(x.bytes)-1).Draw(r, "at")
		bit := rapid.IntRange(-1, 7).Draw(r, "bit") // -1 cuts
		x.readings(func(b []byte) io.Reader {
			if bit < 0 {
				return bytes.NewReader(b[:at])
			}
			b[at] ^= 1 << bit
			return bytes.NewReader(b)
		})
		if _, err := x.Verify(t.Context(), nil); err == nil {
			r.Fatal("not found")
		}
	})
}

func TestWritePlain(t *testing.T) {
	t.Parallel()
	plain := dump(t, database(t, sourceSQL), export.SQL, "tenant")
	x := sealed(t, plain, kind{format: export.SQL, compression: seal.Gzip}, "tenant")
	found, err := x.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := x.WritePlain(t.Context(), &out, found, nil); err != nil || !bytes.Equal(out.Bytes(), plain) {
		t.Errorf("%d bytes, want %d: %v", out.Len(), len(plain), err)
	}
	other := sealed(t, append([]byte("-- \n"), plain...), kind{format: export.SQL, compression: seal.Gzip}, "tenant")
	if err := other.WritePlain(t.Context(), io.Discard, found, nil); !errors.Is(err, restore.ErrUnverified) {
		t.Errorf("%v, want ErrUnverified", err)
	}
	errFull := errors.New("disk full")
	if err := x.WritePlain(t.Context(), failing{errFull}, found, nil); !errors.Is(err, errFull) || errors.Is(err, restore.ErrUnverified) {
		t.Errorf("%v, want the disk's", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// pg_restore exits with 1 for an archive that it cannot read, and for many faults that are not the
// archive's.
func TestAFaultOfTheMachineIsNotAFaultOfTheArchive(t *testing.T) {
	t.Parallel()
	x := sealed(t, dump(t, database(t, sourceSQL), export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	for name, c := range map[string]struct {
		script  string
		damaged bool
	}{
		"an end too early":    {`echo "pg_restore: error: could not read from input file: end of file" >&2; exit 1`, true},
		"no archive":          {`echo "pg_restore: error: input file does not appear to be a valid archive" >&2; exit 1`, true},
		"memory":              {`echo "pg_restore: error: out of memory" >&2; exit 1`, false},
		"memory of a process": {`echo "pg_restore: error: could not create worker process: Cannot allocate memory" >&2; exit 1`, false},
		"processes":           {`echo "pg_restore: error: could not create worker process: Resource temporarily unavailable" >&2; exit 1`, false},
		"descriptors":         {`echo "pg_restore: error: could not open input file: Too many open files" >&2; exit 1`, false},
		"a disk":              {`echo "pg_restore: error: could not read from input file: Input/output error" >&2; exit 1`, false},
		"a killer":            {`kill -KILL $$`, false},
		"the loader":          {`echo "error while loading shared libraries: libpq.so.5: failed to map segment" >&2; exit 127`, false},
		"the sandbox":         {`echo "sandbox: start the program: resource temporarily unavailable" >&2; exit 125`, false},
	} {
		dirs := tool(t, "pg_restore", `case "$1" in --version) echo "pg_restore (PostgreSQL) 18.1"; exit;; esac
cat >/dev/null
`+c.script)
		_, err := restorer(restore.Config{BinDirs: dirs}).Restore(t.Context(), x.Export, target(t, database(t, "")), nil)
		_, rejected := errors.AsType[*restore.RejectedError](err)
		if err == nil || errors.Is(err, restore.ErrUnverified) != c.damaged || rejected {
			t.Errorf("%s: %v, damaged: want %t", name, err, c.damaged)
		}
	}
}

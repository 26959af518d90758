package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/term"
)

// downloaded is download's output as JSON.
type downloaded struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	From   string `json:"from"`
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (a *app) downloadCommand() *cobra.Command {
	var to string
	var plain, force bool
	cmd := &cobra.Command{
		Use:   "download ID",
		Short: "Fetch a stored export into a file",
		Long: "Fetches an export, checks its size and hash, and only then gives the file its name.\n" +
			"Until then it is FILE.part, from which an interrupted download goes on. It needs\n" +
			"neither the broker nor the ledger, and without --plain no identity.\n\n" + idHelp,
		Example: "  pgcourier download nightly-42 --storage file:///var/lib/exports\n" +
			"  pgcourier download acme/nightly-42 -o acme.sql.gz.age\n" +
			"  pgcourier download nightly-42 --plain -i key.txt -o - | less",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVarP(&to, "to", "o", "", "file to write; - is standard output, after a first reading that checks all; empty: the export's own name in this folder")
	cmd.Flags().BoolVar(&plain, "plain", false, "decrypt and decompress: the dump as pg_dump wrote it")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	_ = cmd.MarkFlagFilename("to")
	flags := a.readingFlags(cmd)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		if to == "-" && a.output != "text" {
			return exitf(exitUsage, "--to - leaves no room for --output %s", a.output)
		}
		l, err := flags.open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		copies, err := l.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		f := &fetch{exports: l, Copy: copies[0], to: to, force: force, meter: a.progress()}
		defer f.meter.Close()
		return readFault(f.run(cmd.Context(), plain))
	})
	return cmd
}

// fetch is one download.
type fetch struct {
	*exports
	destinations.Copy
	to    string
	force bool
	meter *term.Progress
}

func (f *fetch) run(ctx context.Context, plain bool) error {
	if plain {
		return f.plain(ctx)
	}
	doc, err := f.Destination.Manifest(ctx, f.Key)
	if err != nil && !errors.Is(err, storage.ErrSealed) { // sizes and hashes can be read by anybody
		return err
	}
	progress := func(n int64) { f.meter.Bytes("fetching", n, doc.Bytes) }
	if f.to == "-" {
		if err := f.write(ctx, io.Discard, 0, progress); err != nil {
			return err
		}
		return f.write(ctx, f.app.stdout, 0, func(n int64) { f.meter.Bytes("writing", n, doc.Bytes) })
	}
	if f.to == "" {
		f.to = path.Base(f.Key)
	}
	sum, err := f.resume(ctx, doc.Bytes, doc.SHA256, progress)
	if err != nil {
		return err
	}
	return f.report(doc.Bytes, sum)
}

// resume completes FILE.part and gives it its name once it has the right size and hash.
func (f *fetch) resume(ctx context.Context, size int64, sum string, progress func(int64)) (_ string, err error) {
	part, err := f.begin(os.O_RDWR | os.O_CREATE)
	if err != nil {
		return "", err
	}
	defer func() { _ = part.Close() }() // after it was synced, or with an error already
	h := sha256.New()
	have, err := io.Copy(h, io.LimitReader(part, size))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", part.Name(), err)
	}
	if err := part.Truncate(have); err != nil {
		return "", err
	}
	if err := f.write(ctx, io.MultiWriter(part, h), have, progress); err != nil {
		if errors.Is(err, restore.ErrUnverified) {
			err = errors.Join(err, os.Remove(part.Name()))
		}
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		// What was there before is not of this export, or changed since.
		return "", errors.Join(fmt.Errorf("%w: what was fetched has another hash than the manifest says; it is removed, ask again", restore.ErrUnverified), os.Remove(part.Name()))
	}
	return sum, f.finish(part)
}

// write writes the stored bytes from offset on to w.
func (f *fetch) write(ctx context.Context, w io.Writer, offset int64, progress func(int64)) (err error) {
	r, err := f.Destination.OpenAt(ctx, f.Key, offset)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	done := offset
	_, err = io.Copy(w, readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		done += int64(n)
		progress(done)
		return n, err
	}))
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// plain checks the whole export in a first reading and writes the dump in a second.
func (f *fetch) plain(ctx context.Context) error {
	x, err := f.export(ctx, f.Copy)
	if err != nil {
		return err
	}
	a := x.Manifest.Artifact
	first, err := x.Verify(ctx, func(n int64) { f.meter.Bytes("checking", n, a.StoredBytes) })
	if err != nil {
		return err
	}
	progress := func(n int64) { f.meter.Bytes("writing", n, a.StoredBytes) }
	if f.to == "-" {
		return x.WritePlain(ctx, f.app.stdout, first, progress)
	}
	if f.to == "" {
		id := f.ID.Request
		f.to = fmt.Sprintf("%s.%d%s", id, f.Attempt, a.Format.Extension())
	}
	part, err := f.begin(os.O_RDWR | os.O_CREATE | os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { _ = part.Close() }()
	if err := x.WritePlain(ctx, part, first, progress); err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	if err := f.finish(part); err != nil {
		return err
	}
	return f.report(first.SizeBytes, first.DumpSHA256)
}

// begin opens FILE.part, for its owner only.
func (f *fetch) begin(flags int) (*os.File, error) {
	if _, err := os.Lstat(f.to); err == nil && !f.force {
		return nil, exitf(exitUsage, "%s exists: choose another --to, or --force", f.to)
	}
	return os.OpenFile(f.to+".part", flags, 0o600)
}

// finish makes the file durable and gives it its name.
func (f *fetch) finish(part *os.File) error {
	if err := errors.Join(part.Sync(), os.Rename(part.Name(), f.to)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *fetch) report(size int64, sum string) error {
	f.meter.Close()
	return f.app.print(downloaded{f.ID.String(), f.Key, f.Destination.Name, f.to, size, sum},
		fmt.Sprintf("%s: %d bytes, sha256 %s\n", term.Sanitize(f.to), size, sum))
}

package restore

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// archiveFile is the name of a custom archive in the scratch folder.
const archiveFile = "archive.dump"

// unpacked is an export in a scratch folder, equal to the first pass.
type unpacked struct {
	*spool.Folder
	path string // of what pg_restore reads: a folder or a file
}

// unpack writes the second pass into a new scratch folder, compares it with the first and ends the
// pass. The caller closes the result.
func (f *feed) unpack(p *pass) (out *unpacked, err error) {
	if out, err = f.room(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrScratch, err), f.drop(p))
	}
	// The first pass checked this size: nothing larger is written.
	r := io.LimitReader(p, f.export.Manifest.Artifact.SizeBytes)
	var reading error
	if f.export.Manifest.Artifact.Format == export.Directory {
		out.path = out.Path()
		reading = writeMembers(out.Root(), tar.NewReader(r))
	} else {
		out.path = filepath.Join(out.Path(), archiveFile)
		reading = writeFile(out.Root(), archiveFile, r)
	}
	if reading == nil {
		_, reading = io.Copy(io.Discard, p) // a tar's end
	}
	if err = f.equal(p, reading); err == nil {
		return out, nil
	}
	if errors.Is(err, errSink) {
		err = fmt.Errorf("%w: %w", ErrScratch, err)
	}
	return nil, errors.Join(err, out.Close())
}

// room creates the folder and checks that its disk has space for the whole dump.
func (f *feed) room() (*unpacked, error) {
	area, err := spool.Open(f.restorer.config.SpoolDir)
	if err != nil {
		return nil, err
	}
	folder, err := area.Folder()
	if err != nil {
		return nil, err
	}
	free, err := folder.Free()
	if need := f.export.Manifest.Artifact.SizeBytes; err == nil && free < need {
		err = fmt.Errorf("%s has room for %d bytes, the dump has %d", f.restorer.config.SpoolDir, free, need)
	}
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return &unpacked{Folder: folder}, nil
}

// writeMembers unpacks a directory archive. It accepts only regular files with the names of such an
// archive, each once.
func writeMembers(to *os.Root, from *tar.Reader) error {
	for {
		h, err := from.Next()
		switch {
		case err == io.EOF: // a wrapped one is a failure, not an end
			return nil
		case err != nil:
			return fmt.Errorf("unpack: %w", err)
		case h.Typeflag != tar.TypeReg || !archive.DirectoryFile(h.Name):
			return errors.New("unpack: a member that is no file of a directory archive")
		}
		if err := writeFile(to, h.Name, from); err != nil {
			return err
		}
	}
}

// writeFile wraps errors of the folder in errSink.
func writeFile(to *os.Root, name string, from io.Reader) error {
	file, err := to.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", errSink, err)
	}
	_, err = io.Copy(writer{file}, from)
	if closing := file.Close(); err == nil && closing != nil {
		err = fmt.Errorf("%w: %w", errSink, closing)
	}
	return err
}

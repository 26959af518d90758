package pgdump

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// parallelFrom is the size of table data above which a dump uses more than one connection. Below it,
// another connection costs more than it saves.
const parallelFrom = 64 << 20

// chooseJobs returns how many connections dump tables: the requested number, else one for each core if
// there is enough data; never more than there are tables or than ParallelJobs.
func (o *opening) chooseJobs(ctx context.Context) int {
	jobs := o.job.Jobs
	if jobs == 0 {
		jobs = 1
		if o.estimated(ctx) >= parallelFrom {
			jobs = runtime.GOMAXPROCS(0)
		}
	}
	return max(1, min(jobs, len(o.survey.counted()), o.config.ParallelJobs))
}

// startSpooled starts a pg_dump that writes a directory, and returns the reader that makes one stream of
// it.
func (o *opening) startSpooled(s selection) (*process, io.ReadCloser, error) {
	if o.config.Spool == nil {
		return nil, nil, newFault(codes.SpoolUnavailable, "this worker has no spool, which format directory needs", nil)
	}
	folder, err := o.config.Spool.Folder()
	if err != nil {
		return nil, nil, newFault(codes.SpoolUnavailable, "the worker's spool cannot be used", err)
	}
	out := &spooled{
		folder: folder, limit: o.config.SpoolBytes, wake: make(chan struct{}, 1),
		writing: make(map[string]struct{}), known: make(map[string]struct{}),
		dumped: make(chan struct{}, len(o.survey.counted())),
	}
	if out.notices, err = watchFolder(folder.Path()); err != nil {
		return nil, nil, newFault(codes.SpoolUnavailable, "the worker's spool cannot be watched", errors.Join(err, out.Close()))
	}
	s.folder, s.jobs = folder.Path(), o.jobs
	args, err := arguments(s)
	if err != nil {
		return nil, nil, newFault(codes.InternalError, "pg_dump's arguments could not be built", errors.Join(err, out.Close()))
	}
	p, err := libpq.StartProcess(libpq.Command{
		Path: o.version.Path, Args: args, Env: o.source.environment(o.session, o.names.dump),
		Password: o.session.Password, Keep: folder.Held(),
	})
	if err != nil {
		return nil, nil, newFault(codes.InternalError, "pg_dump could not be started", errors.Join(err, out.Close()))
	}
	out.process = &process{p}
	return out.process, out, nil
}

// spooled is pg_dump's directory as one stream: a tar in which the file of each table follows when
// pg_dump has closed it, and toc.dat comes last, after pg_dump exited 0. A file is unlinked when its
// reading begins. Only one goroutine may call Read, and Close must not run during a Read.
type spooled struct {
	folder  *spool.Folder
	notices *os.File
	process *process // nil: not started
	limit   int64
	fail    func(error) // ends the dump

	// Used by Read only.
	frame bytes.Buffer   // headers, padding and the end, to be read next
	file  *os.File       // its body follows; nil: none
	size  int64          // of file
	left  int64          // of its body
	last  bool           // the current file is toc.dat
	shut  sync.WaitGroup // goroutines that close files

	wake   chan struct{} // a file is ready, or following has ended
	dumped chan struct{} // a value for each finished file of a table
	idle   sync.WaitGroup
	over   atomic.Bool // set by unfollow

	mu      sync.Mutex
	ready   []finished
	writing map[string]struct{} // what pg_dump has open
	known   map[string]struct{} // all files that were ever ready
	held    int64               // bytes of files that are ready or being read
	gone    int64               // bytes of files that were completely read
	used    int64               // bytes in the folder at the last measurement
	seen    int64               // written bytes at the last call of grown
	tight   bool                // the disk was full when the last file became ready
}

type finished struct {
	name string
	size int64
}

// Read implements io.Reader. It returns io.EOF early when pg_dump failed: the caller checks
// its exit status.
func (s *spooled) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if s.frame.Len() > 0 {
			m, _ := s.frame.Read(p[n:]) // fails only if empty
			n += m
			continue
		}
		if s.file == nil {
			if err := s.next(n == 0); err != nil || s.file == nil && s.frame.Len() == 0 {
				return n, err
			}
			continue
		}
		m, err := s.body(p[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// body reads the current file, and closes it at its end.
func (s *spooled) body(p []byte) (int, error) {
	if s.left == 0 {
		return 0, s.endFile()
	}
	n, err := s.file.Read(p[:min(s.left, int64(len(p)))])
	s.left -= int64(n)
	if err != nil {
		return n, fmt.Errorf("read the spool: %w", notEOF(err))
	}
	return n, nil
}

// endFile closes the current file. The file must not have grown since its header was written.
func (s *spooled) endFile() error {
	if n, err := s.file.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("a file of pg_dump's changed after it was closed"), err)
	}
	file, size := s.file, s.size
	s.file = nil
	s.frame.Write(make([]byte, -size&(tarBlock-1)))
	if s.last {
		s.frame.Write(make([]byte, 2*tarBlock))
	}
	// Closing the unlinked file frees its blocks, which takes a tenth of a second for each gigabyte.
	// The next file is read meanwhile.
	s.shut.Go(func() {
		_ = file.Close() // opened for reading only
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held -= size
		s.gone += size
	})
	return nil
}

const tarBlock = 512

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next begins the next file. If none is ready it waits, or returns at once.
func (s *spooled) next(wait bool) error {
	for {
		if s.last {
			return io.EOF
		}
		if f, ok := s.pop(); ok {
			return s.begin(f)
		}
		if !wait {
			return nil
		}
		select {
		case <-s.wake:
		case <-s.process.Exited():
			if s.process.Wait() != nil {
				return io.EOF
			}
			if err := s.collect(); err != nil {
				return err
			}
		}
	}
}

func (s *spooled) pop() (f finished, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) == 0 {
		return f, false
	}
	f, s.ready = s.ready[0], s.ready[1:]
	return f, true
}

// begin opens a file, takes it out of the folder and writes its header.
func (s *spooled) begin(f finished) (err error) {
	if s.file, err = s.folder.Root().Open(f.name); err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	if err := s.folder.Root().Remove(f.name); err != nil {
		return fmt.Errorf("empty the spool: %w", err)
	}
	s.size, s.left, s.last = f.size, f.size, f.name == tocFile
	// No times and no owners, so that the stream depends on the contents only.
	if err := tar.NewWriter(&s.frame).WriteHeader(&tar.Header{Name: f.name, Size: f.size, Mode: 0o600}); err != nil {
		return fmt.Errorf("write a tar header: %w", err)
	}
	return nil
}

const tocFile = "toc.dat"

// collect adds, after pg_dump exited 0, the remaining files of the folder: those closed since the last
// event, and toc.dat as the last one.
func (s *spooled) collect() error {
	s.unfollow()
	entries, err := fs.ReadDir(s.folder.Root().FS(), ".")
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	found := false
	for _, e := range entries {
		switch {
		case e.Name() == tocFile:
			found = true
		case !archive.DirectoryFile(e.Name()):
			return newFault(codes.DumpIncomplete, "pg_dump wrote a file of an unknown kind", fmt.Errorf("%q", e.Name()))
		default:
			if err := s.finish(e.Name()); err != nil {
				return err
			}
		}
	}
	if !found {
		return newFault(codes.DumpIncomplete, "pg_dump reported success and wrote no table of contents", nil)
	}
	return s.finish(tocFile)
}

// full reports whether pg_dump met a full disk.
func (s *spooled) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tight || s.crowded()
}

// crowded reports whether the file system is full.
func (s *spooled) crowded() bool {
	free, err := s.folder.Free()
	return err == nil && free < 1<<20
}

// grown reports whether pg_dump has written anything since the last call.
func (s *spooled) grown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := s.gone + s.used
	grown := written > s.seen
	s.seen = max(s.seen, written)
	return grown
}

// Close removes the folder. pg_dump must have ended.
func (s *spooled) Close() error {
	var err error
	if s.notices != nil {
		s.unfollow()
	}
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	s.shut.Wait()
	return errors.Join(err, s.folder.Close())
}

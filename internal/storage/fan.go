package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/pgcourier/pgcourier/internal/export"
)

var _ export.Store = (*Fan)(nil)

const (
	// fanBlock and fanBlocks bound the memory between the stream and its destinations:
	// 4 MiB, shared by all of them. It evens out their short pauses; a destination that is
	// slower for longer slows the stream down.
	fanBlock  = 256 << 10
	fanBlocks = 16
)

// Target is one destination of a Fan.
type Target struct {
	// Name is the destination's, as in Copy.Destination, for instance "s3".
	Name  string
	Store export.Store
	// Optional: its failure is reported and does not fail the export.
	Optional bool
}

// Fan feeds several destinations from one stream in one pass. It is safe for concurrent
// use as far as its stores are.
type Fan struct {
	targets []Target
	failed  func(ctx context.Context, target string, err error)
}

// NewFan makes a Fan. At least one target is not optional. failed is called for each optional
// target that failed; it may be nil only if no target is optional.
func NewFan(targets []Target, failed func(ctx context.Context, target string, err error)) (*Fan, error) {
	required := 0
	for _, t := range targets {
		if t.Store == nil {
			return nil, fmt.Errorf("storage: target %q has no store", t.Name)
		}
		if !t.Optional {
			required++
		}
	}
	if required == 0 {
		return nil, errors.New("storage: no required target")
	}
	if required < len(targets) && failed == nil {
		return nil, errors.New("storage: optional targets need a function that is told of their failures")
	}
	return &Fan{targets: targets, failed: failed}, nil
}

// errOtherTarget ends the stream of the targets that still work when a required one failed.
var errOtherTarget = errors.New("another destination failed")

// Put implements export.Store. It returns one Copy for each target, in the targets' order:
// those of optional targets that failed say why. When r or a required target fails, no
// target holds the export, and the error is r's, or that of the first required target that
// failed.
func (f *Fan) Put(ctx context.Context, key string, r io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	p := &pass{free: make(chan *block, fanBlocks), broken: make(chan struct{})}
	for range fanBlocks {
		p.free <- &block{buf: make([]byte, fanBlock)}
	}
	for range f.targets {
		p.feeds = append(p.feeds, &feed{blocks: make(chan *block, fanBlocks), pass: p})
	}
	describeOnce := sync.OnceValue(describe)
	copies := make([][]export.Copy, len(f.targets))
	errs := make([]error, len(f.targets))
	var wg sync.WaitGroup
	for i, t := range f.targets {
		wg.Go(func() {
			copies[i], errs[i] = t.Store.Put(ctx, key, p.feeds[i], describeOnce)
			if errs[i] != nil && !t.Optional {
				p.breakOff()
			}
			p.feeds[i].drain()
		})
	}
	p.run(ctx, r, &wg)
	return f.settle(ctx, key, copies, errs)
}

// settle makes one answer of all the targets' answers.
func (f *Fan) settle(ctx context.Context, key string, copies [][]export.Copy, errs []error) ([]export.Copy, error) {
	var failure error
	for i, t := range f.targets {
		if errs[i] != nil && !t.Optional && (failure == nil || errors.Is(failure, errOtherTarget)) {
			failure = fmt.Errorf("%s: %w", t.Name, errs[i])
		}
	}
	if failure != nil {
		return nil, errors.Join(failure, f.undo(ctx, key, errs))
	}
	var all []export.Copy
	for i, t := range f.targets {
		if errs[i] != nil {
			f.failed(ctx, t.Name, errs[i])
			fault := export.AsFault(errs[i])
			all = append(all, export.Copy{
				Destination: t.Name, Status: export.NotStored, Code: fault.Code, Message: fault.Message,
			})
			continue
		}
		all = append(all, copies[i]...)
	}
	return all, nil
}

// undo deletes the export where it was complete before a required target failed.
func (f *Fan) undo(ctx context.Context, key string, errs []error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var all []error
	for i, t := range f.targets {
		if errs[i] == nil {
			if err := t.Store.Delete(ctx, key); err != nil {
				all = append(all, fmt.Errorf("%s: %w", t.Name, err))
			}
		}
	}
	return errors.Join(all...)
}

// Delete implements export.Store: from all targets, also when one of them fails.
func (f *Fan) Delete(ctx context.Context, key string) error {
	errs := make([]error, len(f.targets))
	var wg sync.WaitGroup
	for i, t := range f.targets {
		wg.Go(func() {
			if err := t.Store.Delete(ctx, key); err != nil {
				errs[i] = fmt.Errorf("%s: %w", t.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pass is one stream on its way to all targets.
type pass struct {
	feeds  []*feed
	free   chan *block
	once   sync.Once
	broken chan struct{} // closed when a required target failed
}

// block is a piece of the stream, given back when all targets have read it.
type block struct {
	buf     []byte
	n       int
	readers atomic.Int32
}

func (p *pass) breakOff() { p.once.Do(func() { close(p.broken) }) }

// run reads the stream to its end and then waits for the targets. The end of the stream, also by a
// panic, ends each feed.
func (p *pass) run(ctx context.Context, r io.Reader, wg *sync.WaitGroup) {
	end := errors.New("the stream panicked")
	defer func() {
		for _, f := range p.feeds {
			f.end = end
			close(f.blocks)
		}
		wg.Wait()
	}()
	for {
		var b *block
		select {
		case b = <-p.free:
		case <-p.broken:
			end = errOtherTarget
			return
		case <-ctx.Done():
			end = ctx.Err()
			return
		}
		err := p.fill(ctx, r, b)
		if b.n > 0 {
			b.readers.Store(int32(len(p.feeds))) //nolint:gosec // a handful of targets
			for _, f := range p.feeds {
				f.blocks <- b // never blocks: there are no more blocks than room for them
			}
		}
		if err != nil {
			end = err
			return
		}
	}
}

// fill reads a whole block, since the stream may come in small pieces. It looks between
// reads whether the pass has come to an end.
func (p *pass) fill(ctx context.Context, r io.Reader, b *block) error {
	b.n = 0
	for b.n < len(b.buf) {
		select {
		case <-p.broken:
			return errOtherTarget
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		n, err := r.Read(b.buf[b.n:])
		b.n += n
		if err != nil {
			return err
		}
	}
	return nil
}

// feed is the stream as one target reads it.
type feed struct {
	pass   *pass
	blocks chan *block
	end    error // set before blocks is closed

	current *block
	offset  int
}

func (f *feed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.current == nil {
		b, ok := <-f.blocks
		if !ok {
			return 0, f.end
		}
		f.current, f.offset = b, 0
	}
	n := copy(p, f.current.buf[f.offset:f.current.n])
	if f.offset += n; f.offset == f.current.n {
		f.release(f.current)
		f.current = nil
	}
	return n, nil
}

func (f *feed) release(b *block) {
	if b.readers.Add(-1) == 0 {
		f.pass.free <- b
	}
}

// drain lets the stream go on without this target, to its end.
func (f *feed) drain() {
	if f.current != nil {
		f.release(f.current)
		f.current = nil
	}
	for b := range f.blocks {
		f.release(b)
	}
}

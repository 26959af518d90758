package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// The dumps of these tests are lines of text. The last one is "END" and the number of lines before
// it: a dump without it, with another number or with more lines after it is not whole.
var (
	tiny  = dump(30)
	some  = dump(2_000)
	large = dump(40_000)
)

var compressions = []seal.Compression{seal.Gzip, seal.Zstd, seal.Plain}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func dump(lines int) []byte {
	var b bytes.Buffer
	random := rand.New(rand.NewPCG(1, uint64(lines)))
	for i := range lines {
		fmt.Fprintf(&b, "%d\t%x\tsome text that is said again\n", i, random.Uint64())
	}
	fmt.Fprintf(&b, "END %d\n", lines)
	return b.Bytes()
}

var errNotWhole = errors.New("not whole")

// inspector is the seal.Inspector of these dumps.
type inspector struct {
	verify func() error // called when the dump is whole; nil: it agrees
	lines  int
	line   []byte
	ended  bool
}

func (i *inspector) Write(p []byte) (int, error) {
	for n, c := range p {
		switch {
		case i.ended:
			return n, errNotWhole
		case c != '\n':
			i.line = append(i.line, c)
			continue
		}
		if count, ok := bytes.CutPrefix(i.line, []byte("END ")); ok {
			if string(count) != strconv.Itoa(i.lines) {
				return n, errNotWhole
			}
			i.ended = true
		}
		i.lines++
		i.line = i.line[:0]
	}
	return len(p), nil
}

func (i *inspector) Finish() error {
	if !i.ended {
		return errNotWhole
	}
	if i.verify != nil {
		return i.verify()
	}
	return nil
}

// inspect says whether a dump is whole.
func inspect(dump []byte) error {
	var i inspector
	if _, err := i.Write(dump); err != nil {
		return err
	}
	return i.Finish()
}

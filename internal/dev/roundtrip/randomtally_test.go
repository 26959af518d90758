package roundtrip_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/pgcourier/pgcourier/internal/export"
)

// randomTally counts the results of the cases. It is safe for concurrent use.
type randomTally struct {
	mu                             sync.Mutex
	cases, statements, differing   int
	notDumped, restored, extension int
	unreadable                     int
	placed, notPlaced              int            // with -random-place
	refused                        map[string]int // by the statement's first words
}

func (r *randomTally) add(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *randomTally) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	refused, words := 0, []string{}
	for w, n := range r.refused {
		refused += n
		words = append(words, fmt.Sprintf("%d %s", n, w))
	}
	slices.Sort(words)
	return fmt.Sprintf("random schemas: %d cases, %d statements (%d more refused by the server), %d with an extension inside, %d not dumped by pg_dump, %d with a script that psql cannot read, %d restored, %d replacements made and %d refused, %d with differences\nrefused: %s",
		r.cases, r.statements, refused, r.extension, r.notDumped, r.unreadable, r.restored, r.placed, r.notPlaced, r.differing, strings.Join(words, ", "))
}

// firstDifference shows the first lines that differ.
func firstDifference(want, got []byte) string {
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(the end)", "(the end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d: %q, and pg_dump has %q", i+1, b, a)
		}
	}
	return "nowhere"
}

// memory is a store of one export.
type memory struct {
	data     []byte
	manifest export.Manifest
}

func (m *memory) Put(_ context.Context, _ string, r io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	var err error
	if m.data, err = io.ReadAll(r); err == nil {
		m.manifest = describe()
	}
	return []export.Copy{{}}, err
}

func (m *memory) Delete(context.Context, string) error { return nil }

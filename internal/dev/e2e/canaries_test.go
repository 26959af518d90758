package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// canaries are secrets that can be found in any output, whole or in part, in the forms in which
// programs write text. It is safe for concurrent use.
type canaries struct {
	t  *testing.T
	mu sync.Mutex
	// names are the names of the secrets.
	names []string
	// byStart holds every form of every secret under the number of its first two bytes.
	byStart [1 << 16][]form
	seen    map[[sha256.Size]byte]bool
	sinks   map[string]int // texts that were searched
	finds   []string
}

// form is a piece of a secret in one spelling.
type form struct {
	secret, kind string
	text         []byte
}

func newCanaries(t *testing.T) *canaries {
	t.Helper()
	return &canaries{t: t, seen: map[[sha256.Size]byte]bool{}, sinks: map[string]int{}}
}

// password makes a secret with characters that URLs, passfiles and shells escape.
func (c *canaries) password(name string) string {
	value := rand.Text()[:14] + "@/% :\\é" + rand.Text()[:14]
	c.add(name, value)
	return value
}

// word makes a secret of letters and digits.
func (c *canaries) word(name string) string {
	value := rand.Text()
	c.add(name, value)
	return value
}

// pieceLength is the length of a piece that counts as a leak: 13 characters of base32 are 65 bits,
// which do not occur by chance.
const pieceLength = 13

// add takes a secret that was made elsewhere. The search is for the beginning and the end of each
// row of letters and digits in it: they survive every way of escaping, and a text that was cut.
func (c *canaries) add(name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := false
	for _, run := range strings.FieldsFunc(value, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		if len(run) < pieceLength {
			continue
		}
		found = true
		for _, piece := range slices.Compact([]string{run[:pieceLength], run[len(run)-pieceLength:]}) {
			for kind, text := range forms(piece) {
				c.addForm(form{name, kind, []byte(text)})
			}
		}
	}
	if !found {
		c.t.Fatalf("%s has no row of %d letters and digits", name, pieceLength)
	}
	if !slices.Contains(c.names, name) {
		c.names = append(c.names, name)
	}
}

func (c *canaries) addForm(f form) {
	at := start(f.text)
	if !slices.ContainsFunc(c.byStart[at], func(o form) bool { return bytes.Equal(o.text, f.text) }) {
		c.byStart[at] = append(c.byStart[at], f)
	}
}

// start returns the number of the first two bytes.
func start(text []byte) uint16 { return uint16(text[0])<<8 | uint16(text[1]) }

// forms returns the spellings of a piece.
func forms(piece string) map[string]string {
	out := map[string]string{
		"plain": piece, "lower case": strings.ToLower(piece), "upper case": strings.ToUpper(piece),
		"hex": hex.EncodeToString([]byte(piece)), "upper hex": strings.ToUpper(hex.EncodeToString([]byte(piece))),
	}
	var percent, spaced strings.Builder
	for _, b := range []byte(piece) {
		fmt.Fprintf(&percent, "%%%02X", b)
		fmt.Fprintf(&spaced, "%d ", b) // a []byte as %v prints it
	}
	out["URL-escaped"], out["lower URL-escaped"], out["numbers"] = percent.String(), strings.ToLower(percent.String()), spaced.String()
	// In a longer text the piece can begin at each of three places of a base64 group; the
	// characters that it shares with its neighbours are left out.
	for shift, name := range []string{"base64", "base64 shifted by one", "base64 shifted by two"} {
		whole := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + piece))
		begin := []int{0, 2, 3}[shift]
		end := (shift + len(piece)) * 8 / 6
		out[name] = whole[begin:end]
		out["URL's "+name] = strings.NewReplacer("+", "-", "/", "_").Replace(whole[begin:end])
	}
	return out
}

// search searches one text of a sink.
func (c *canaries) search(sink, where string, text []byte) {
	sum := sha256.Sum256(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[sum] {
		c.sinks[sink]++
		return
	}
	c.seen[sum] = true
	c.sinks[sink]++
	for i := 0; i+1 < len(text); i++ {
		for _, f := range c.byStart[start(text[i:])] {
			if bytes.HasPrefix(text[i:], f.text) {
				c.finds = append(c.finds, fmt.Sprintf("%s: %s holds %s (%s): ...%q...", sink, where, f.secret, f.kind,
					text[max(0, i-60):min(len(text), i+60)]))
				delete(c.seen, sum) // another sink may hold the same
			}
		}
	}
}

// files searches each file below a folder, and the names.
func (c *canaries) files(sink, dir string, but ...string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		if slices.Contains(but, path) {
			return fs.SkipDir
		}
		c.search(sink, "a name in "+dir, []byte(path))
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		c.search(sink, path, text)
		return err
	})
	if err != nil {
		c.t.Errorf("search %s: %v", dir, err)
	}
}

// result returns the finds so far, each once.
func (c *canaries) result() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(c.finds)))
}

// report fails for each find, and logs what was searched for and where.
func report(t *testing.T, all ...*canaries) {
	t.Helper()
	names, sinks, finds := map[string]bool{}, map[string]int{}, 0
	for _, c := range all {
		for _, f := range c.result() {
			t.Error(f)
			finds++
		}
		c.mu.Lock()
		for _, name := range c.names {
			names[name] = true
		}
		for name, n := range c.sinks {
			sinks[name] += n
		}
		c.mu.Unlock()
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(sinks)) {
		texts = append(texts, fmt.Sprintf("%s (%d)", name, sinks[name]))
	}
	t.Logf("secrets: %s", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	t.Logf("sinks, and how many texts of each: %s", strings.Join(texts, ", "))
	t.Logf("canaries x sinks: %d x %d, %d finds", len(names), len(sinks), finds)
}

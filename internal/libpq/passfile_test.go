package libpq_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

func TestPassfile(t *testing.T) {
	t.Parallel()
	for name, newFile := range map[string]func(string) (*os.File, error){
		"memory": libpq.NewPassfile,
		"file": func(string) (*os.File, error) {
			f, err := libpq.UnnamedFile()
			if err != nil {
				return nil, err
			}
			_, err = f.WriteString(`*:*:*:*:a\:b\\c` + "\n")
			return f, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := newFile(`a:b\c`)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			path := fmt.Sprintf("/proc/self/fd/%d", f.Fd()) // as libpq opens it
			info, err := os.Stat(path)
			if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
				t.Errorf("mode = %v, %v; want a regular file of 0600", info.Mode(), err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != `*:*:*:*:a\:b\\c`+"\n" {
				t.Errorf("content = %q, %v", b, err)
			}
			if link, err := os.Readlink(path); err != nil || !strings.HasSuffix(link, "(deleted)") {
				t.Errorf("name = %q, %v; want none", link, err)
			}
		})
	}
}

package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

// A receipt is made with an export, is verified with nothing but a public key, by our command and
// by openssl alone, and is deleted with the export.
func TestAReceiptProvesAnExportAndGoesWithIt(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.request(events.Requested{ProjectID: "acme", RequestID: "r1"})
	c := p.completed("acme", "r1")
	if c.Receipt == nil || len(c.Receipt.Copies) != 1 || !strings.HasSuffix(c.Receipt.Copies[0].URI, ".receipt.json") {
		t.Fatalf("receipt %+v", c.Receipt)
	}
	raw, stderr, code := p.cli("receipt", "show", "r1", "--raw")
	sum := sha256.Sum256([]byte(raw))
	if code != 0 || hex.EncodeToString(sum[:]) != c.Receipt.SHA256 {
		t.Fatalf("receipt show: %d, %s\n%s", code, stderr, raw)
	}
	shown, stderr, code := p.cli("receipt", "show", "acme/r1")
	if code != 0 || !strings.Contains(shown, c.SHA256) {
		t.Errorf("receipt show: %d, %s\n%s", code, stderr, shown)
	}
	public, stderr, code := p.cli("receipt", "key")
	if code != 0 {
		t.Fatalf("receipt key: %s", stderr)
	}
	dir := t.TempDir()
	object := filepath.Join(p.storage, strings.TrimPrefix(c.Storage[0].URI, "file:"))
	for name, text := range map[string]string{"receipt.json": raw, "receipt.pub": public, "altered.json": strings.Replace(raw, `"sig": "`, `"sig": "A`, 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(receipt, key, object string) (string, int) {
		out, stderr, code := p.bare("receipt", "verify", filepath.Join(dir, receipt), "--key", key, "--object", object)
		return out + stderr, code
	}
	key := filepath.Join(dir, "receipt.pub")
	if out, code := verify("receipt.json", key, object); code != 0 || !strings.Contains(out, c.Receipt.KeyID) {
		t.Errorf("receipt verify: %d, %s", code, out)
	}
	if out, code := verify("altered.json", key, object); code != 4 {
		t.Errorf("an altered receipt: %d, %s", code, out)
	}
	if out, code := verify("receipt.json", key, key); code != 4 || !strings.Contains(out, c.SHA256) {
		t.Errorf("another file: %d, %s", code, out)
	}
	if out, code := verify("receipt.json", filepath.Join(dir, "receipt.json"), object); code != 2 {
		t.Errorf("no key: %d, %s", code, out)
	}
	script, err := os.ReadFile(filepath.Join(root, "internal/handover/receipt/testdata/verify.sh"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "bash", "-euo", "pipefail", "-c", string(script), "verify", "receipt.json", "receipt.pub", object)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
	if _, stderr, code := p.cli("rm", "acme/r1", "--yes"); code != 0 {
		t.Fatalf("rm: %s", stderr)
	}
	if left := p.stored(); len(left) > 0 {
		t.Errorf("left in the storage: %v", left)
	}
}

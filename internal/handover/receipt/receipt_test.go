package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing

func outcome() export.Outcome {
	at := time.Date(2026, 3, 14, 9, 26, 54, 123456000, time.UTC)
	return export.Outcome{
		ID: export.ID{Project: "acme", Request: "r1"}, State: export.Completed, Attempt: 2, StartedAt: at, FinishedAt: at.Add(time.Second),
		Artifact: &export.Artifact{
			Format: export.SQL, Compression: seal.Gzip, Encryption: seal.Age, Schemas: []string{"canary_schema"}, SizeBytes: 9, StoredBytes: 4,
			SHA256: sum, Tables: 1, Rows: 2, ServerVersion: "15.18", PgDumpVersion: "17.2", Recipients: []string{"SHA256:x"},
		},
	}
}

func newSigner(t *testing.T) *receipt.Signer {
	t.Helper()
	s, err := receipt.Open("", t.TempDir(), "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAReceiptSaysWhatWasCountedAndNoNames(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	r, err := s.Export("acme/x/r1.2.sql.gz.age", outcome())
	if err != nil {
		t.Fatal(err)
	}
	got, id, err := receipt.Verify(r.Envelope, s.Public()...)
	if err != nil || id != r.KeyID {
		t.Fatalf("signed by %s, %v", id, err)
	}
	p := got.Predicate
	if got.SHA256() != sum || got.Subject[0].Name != "r1.2.sql.gz.age" || p.ProjectID != "acme" || p.RequestID != "r1" || p.Attempt != 2 ||
		p.Stream != (receipt.Counts{Tables: 1, Rows: 2}) || *p.Snapshot != p.Stream || p.Versions != (receipt.Versions{PGCourier: "1.2.3", Server: "15.18", PgDump: "17.2"}) ||
		len(p.Recipients) != 1 || p.FinishedAt.Sub(p.StartedAt) != time.Second {
		t.Errorf("statement %+v", got)
	}
	payload := decoded(t, r.Envelope)
	if strings.Contains(string(payload), "canary_schema") {
		t.Errorf("the receipt names a schema: %s", payload)
	}
	if lines := got.Lines(); len(lines) < 8 {
		t.Errorf("lines %q", lines)
	}
}

// decoded returns the payload of an envelope.
func decoded(t *testing.T, envelope []byte) []byte {
	t.Helper()
	var e struct{ Payload []byte }
	if err := json.Unmarshal(envelope, &e); err != nil {
		t.Fatal(err)
	}
	return e.Payload
}

// The example of the DSSE protocol.
func TestPAEIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	if got := string(receipt.PAE("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("PAE is %q", got)
	}
}

func TestAnAlteredReceiptProvesNothing(t *testing.T) {
	t.Parallel()
	s, other := newSigner(t), newSigner(t)
	r, err := s.Export("acme/r1.2.sql", outcome())
	if err != nil {
		t.Fatal(err)
	}
	payload := decoded(t, r.Envelope)
	swap := func(old, with string) []byte {
		changed := bytes.Replace(payload, []byte(old), []byte(with), 1)
		if bytes.Equal(changed, payload) {
			t.Fatalf("the payload has no %s", old)
		}
		return bytes.Replace(r.Envelope, []byte(base64.StdEncoding.EncodeToString(payload)), []byte(base64.StdEncoding.EncodeToString(changed)), 1)
	}
	for name, b := range map[string][]byte{
		"another row count":   swap(`"rows":2`, `"rows":3`),
		"another digest":      swap("e3b0", "f3b0"),
		"another type":        bytes.Replace(r.Envelope, []byte(receipt.PayloadType), []byte("application/json"), 1),
		"a field twice":       bytes.Replace(r.Envelope, []byte(`"payloadType"`), []byte(`"payload":"","payloadType"`), 1),
		"nothing":             nil,
		"no envelope":         []byte(`[]`),
		"no signature":        []byte(`{"payload":"` + base64.StdEncoding.EncodeToString(payload) + `","payloadType":"` + receipt.PayloadType + `","signatures":[]}`),
		"too much":            append(bytes.Repeat([]byte(" "), receipt.MaxBytes), r.Envelope...),
		"a signature cut off": bytes.Replace(r.Envelope, []byte(`=="`), []byte(`"`), 1),
	} {
		if _, _, err := receipt.Verify(b, s.Public()...); !errors.Is(err, receipt.ErrWrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := receipt.Verify(r.Envelope, other.Public()...); !errors.Is(err, receipt.ErrWrong) || !strings.Contains(err.Error(), r.KeyID) {
		t.Errorf("another key: %v", err)
	}
	if _, _, err := receipt.Verify(r.Envelope, append(other.Public(), s.Public()...)...); err != nil {
		t.Errorf("one of two keys: %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	old, err := receipt.Generate()
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := receipt.Generate()
	if err != nil {
		t.Fatal(err)
	}
	before, err := receipt.Open(secret.String(old), "", "1")
	if err != nil {
		t.Fatal(err)
	}
	after, err := receipt.Open(secret.String(append(fresh, old...)), "", "2")
	if err != nil {
		t.Fatal(err)
	}
	first, err := before.Export("k", outcome())
	if err != nil {
		t.Fatal(err)
	}
	second, err := after.Export("k", outcome())
	if err != nil {
		t.Fatal(err)
	}
	public, err := receipt.EncodePublic(after.Public()...)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := receipt.ParsePublic(public)
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	for _, r := range []*export.Receipt{first, second} {
		if _, id, err := receipt.Verify(r.Envelope, keys...); err != nil || id != r.KeyID {
			t.Errorf("%s: %s, %v", r.KeyID, id, err)
		}
	}
	if first.KeyID == second.KeyID {
		t.Error("both keys have one id")
	}
	if again, err := after.Recognize(first.Envelope); err != nil || again.KeyID != first.KeyID || again.SHA256 != first.SHA256 {
		t.Errorf("recognized %+v, %v", again, err)
	}
	for _, text := range []string{"", "canary", string(public)} {
		if text == "" {
			continue
		}
		if _, err := receipt.Open(secret.String(text), "", "1"); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAKeyIsMadeOnceForAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := receipt.Open("", dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := receipt.Open("", dir, "1")
	if err != nil || !a.Public()[0].Equal(b.Public()[0]) {
		t.Errorf("another key, %v", err)
	}
}

// The tools of an operating system can verify a receipt, without a program of ours.
func TestOpenSSLVerifiesAReceipt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSigner(t)
	r, err := s.Export("acme/r1.2.sql", outcome())
	if err != nil {
		t.Fatal(err)
	}
	public, err := receipt.EncodePublic(s.Public()...)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"receipt.json": r.Envelope, "receipt.pub": public, "export": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile("testdata/verify.sh")
	if err != nil {
		t.Fatal(err)
	}
	verify := func() ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", string(script), "verify", "receipt.json", "receipt.pub", "export")
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := verify(); err != nil || !strings.Contains(string(out), "Signature Verified Successfully") {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	// The id of the key, as in its documentation.
	id, err := exec.CommandContext(t.Context(), "bash", "-c", "openssl pkey -pubin -in "+dir+"/receipt.pub -outform DER | openssl dgst -sha256 -binary | base64").Output()
	if err != nil || "SHA256:"+strings.TrimRight(string(id), "=\n") != r.KeyID {
		t.Errorf("key id %s, want %s, %v", id, r.KeyID, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "export"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(); err == nil {
		t.Errorf("another file passes:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, "export"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = receipt.EncodePublic(stranger.Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "receipt.pub"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(); err == nil {
		t.Errorf("another key passes:\n%s", out)
	}
}

func FuzzVerify(f *testing.F) {
	s, err := receipt.Open("", f.TempDir(), "1")
	if err != nil {
		f.Fatal(err)
	}
	r, err := s.Export("acme/r1.2.sql", outcome())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Envelope)
	f.Add([]byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _, err := receipt.Verify(b, s.Public()...)
		if err == nil && got.SHA256() != sum {
			t.Fatalf("something that was never signed verifies: %s", b)
		}
		if err != nil && !errors.Is(err, receipt.ErrWrong) {
			t.Fatal(err)
		}
	})
}

package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestParseIdentities(t *testing.T) {
	t.Parallel()
	native, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	open, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("canary"))
	if err != nil {
		t.Fatal(err)
	}
	for recipient, file := range map[string]string{
		native.Recipient().String():            "# created: today\n\n " + native.String() + "\r\n",
		string(ssh.MarshalAuthorizedKey(line)): string(pem.EncodeToMemory(open)),
	} {
		ids, err := seal.ParseIdentities([]byte(file))
		if err != nil || len(ids) != 1 {
			t.Fatalf("%d identities, %v", len(ids), err)
		}
		parsed, err := seal.ParseRecipients([]string{recipient})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w, err := age.Encrypt(&b, seal.Keys(parsed)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := age.Decrypt(&b, ids...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err != nil {
			t.Error(err)
		}
	}
	for name, file := range map[string]string{
		"empty": "", "comment": "# nothing\n", "a recipient": native.Recipient().String(),
		"cut short": native.String()[:40], "with a passphrase": string(pem.EncodeToMemory(locked)),
		"broken SSH key": "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n",
	} {
		_, err := seal.ParseIdentities([]byte(file))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if file != "" && strings.Contains(err.Error(), strings.TrimSpace(file)) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
}

package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/events"
)

// The way from the request to the customer's restored database, with public tools only: the script
// of docs/integrate.md, unchanged.
func TestTheHandOverWithCurlOpenSSLAgeAndPsql(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	address := freeAddress(t)
	links := []string{"PUBLIC_URL=http://" + address}
	p.provision(append(links, p.settings...)...)
	api := p.start(append(links, "ROLES=api", "API_ADDR="+address)...)
	api.awaitLog("HTTP API listens")
	p.start("ROLES=intake,worker,sweeper")
	hook := newHook(t)
	p.notifier(append(links, hook.settings()...)...)
	tok := p.token("acme", "export,read")
	p.outcomes++ // of the script's request

	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public, stderr, code := p.platform.cli("receipt", "key")
	if code != 0 {
		t.Fatalf("receipt key: %s", stderr)
	}
	target := p.database + "_customer"
	if err := executeIn(t.Context(), "postgres", "CREATE DATABASE "+target); err != nil {
		t.Fatal(err)
	}
	mailbox := write("mailbox", "")
	script, err := filepath.Abs(filepath.Join(root, "docs/examples/hand-over/hand-over.sh"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "API=http://"+address, "TOKEN="+tok, "PROJECT=acme", "EMAIL=owner@example.com", "MAILBOX="+mailbox,
		"RECIPIENT="+id.Recipient().String(), "IDENTITY="+write("key.txt", id.String()+"\n"), "RECEIPTS="+write("receipt.pub", public),
		"TARGET="+cluster.URL(target))
	done := make(chan struct{})
	var out []byte
	var mailed string
	go func() {
		defer close(done)
		out, err = cmd.CombinedOutput()
	}()
	eventually(t, "the mail with the link", func() bool {
		select {
		case <-done:
			t.Fatalf("the script ended before the mail came: %v\n%s", err, out)
		default:
		}
		for _, m := range p.smtp.Mails() {
			if text := open(t, m).text; strings.Contains(text, "/d/") { // as a mail client shows it
				mailed = text
				// The script reads it meanwhile, and must not read a part of it.
				if err := os.Rename(write("mail", text), mailbox); err != nil {
					t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
	<-done
	if err != nil || !strings.Contains(string(out), "Signature Verified Successfully") {
		t.Fatalf("%v\n%s", err, out)
	}
	request := strings.TrimSpace(string(out[strings.LastIndex(string(out), " ")+1:]))
	c := p.completed("acme", request)
	if len(c.Recipients) != 1 || c.Encryption != events.EncryptionAge {
		t.Errorf("recipients %v", c.Recipients)
	}
	d := p.event(events.TypeDownloaded, "acme", request).Downloaded
	if !d.Whole || d.LinkID != p.event(events.TypeLinkIssued, "acme", request).LinkIssued.LinkID {
		t.Errorf("downloaded %+v", d)
	}
	// The webhook gets the link too, and the same one.
	eventually(t, "the webhook gets the link", func() bool {
		for _, c := range hook.calls() {
			var told struct{ URL string }
			if json.Unmarshal(c.body, &told) == nil && strings.HasPrefix(told.URL, "http://"+address+"/d/") {
				return strings.Contains(mailed, told.URL)
			}
		}
		return false
	})
	links2, stderr, code := p.cliWith(links, "link", "list", "acme/"+request)
	if code != 0 || !strings.Contains(links2, "1 of 1") {
		t.Errorf("link list: %s%s", links2, stderr)
	}
}

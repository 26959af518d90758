package seal_test

import (
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestParseRecipients(t *testing.T) {
	t.Parallel()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	const ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@example.com"
	got, err := seal.ParseRecipients([]string{id.Recipient().String(), " " + ssh + " "})
	if err != nil || len(got) != 2 {
		t.Errorf("ParseRecipients = %d recipients, %v; want 2", len(got), err)
	}
	// As in the output of `ssh-keygen -lf`.
	const want = "SHA256:PYX4o9UfGwCwG76hFcLAEkmMS0PtIBtV9MNmVgW16Oc"
	if got[1].Fingerprint != want {
		t.Errorf("fingerprint %s, want %s", got[1].Fingerprint, want)
	}
	again, err := seal.ParseRecipients([]string{"ssh-ed25519  AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN bob"})
	if err != nil || again[0].Fingerprint != want || len(seal.Union(got, again)) != 2 {
		t.Errorf("another spelling of the key: %+v, %v", again, err)
	}
	if got, err := seal.ParseRecipients(nil); got != nil || err != nil {
		t.Errorf("ParseRecipients(nil) = %v, %v", got, err)
	}
	if _, err := seal.ParseRecipients([]string{id.Recipient().String(), "age1nonsense"}); err == nil || !strings.Contains(err.Error(), "recipient 2") {
		t.Errorf("a bad second recipient gave %v", err)
	}
	for _, example := range []string{seal.Placeholder, "age1defjmu2vkfxgnwhu0x0g4rjf04rhqx3p4yd7n6ewgzujrck8h9qqvaken3"} {
		if _, err := seal.ParseRecipients([]string{id.Recipient().String(), example}); err == nil || !strings.Contains(err.Error(), "recipient 2 of 2 is the example") {
			t.Errorf("the shipped example %s gave %v", example, err)
		}
	}
	// An identity given by mistake must not be repeated in the error.
	if _, err := seal.ParseRecipients([]string{id.String()}); err == nil || strings.Contains(err.Error(), id.String()) {
		t.Errorf("an identity gave %v", err)
	}
}

package seal

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// Placeholder is what the shipped configuration files hold in the place of a recipient.
const Placeholder = "age1-PUT-THE-PUBLIC-LINE-OF-YOUR-KEY-HERE"

// shippedExample was the recipient in the configuration files of earlier versions. Its identity
// is lost: what is encrypted to it alone can never be opened.
const shippedExample = "age1defjmu2vkfxgnwhu0x0g4rjf04rhqx3p4yd7n6ewgzujrck8h9qqvaken3"

// Recipient is a public key that artifacts are encrypted to.
type Recipient struct {
	Key age.Recipient
	// Fingerprint is "SHA256:" and the unpadded base64 of a SHA-256: of the key itself for an
	// SSH key, as ssh-keygen -l prints it, and of its text for an age recipient.
	Fingerprint string
}

// Keys returns the keys of recipients, as age takes them.
func Keys(recipients []Recipient) []age.Recipient {
	var out []age.Recipient
	for _, r := range recipients {
		out = append(out, r.Key)
	}
	return out
}

// Fingerprints returns the fingerprints of recipients, sorted.
func Fingerprints(recipients []Recipient) []string {
	var out []string
	for _, r := range recipients {
		out = append(out, r.Fingerprint)
	}
	slices.Sort(out)
	return out
}

// Union returns the recipients of all lists, each key once.
func Union(lists ...[]Recipient) []Recipient {
	var out []Recipient
	for _, r := range slices.Concat(lists...) {
		if !slices.ContainsFunc(out, func(o Recipient) bool { return o.Fingerprint == r.Fingerprint }) {
			out = append(out, r)
		}
	}
	return out
}

// fingerprint returns the Recipient.Fingerprint of a line that was read.
func fingerprint(line string) string {
	of := []byte(line)
	if fields := strings.Fields(line); len(fields) > 1 {
		if blob, err := base64.StdEncoding.DecodeString(fields[1]); err == nil {
			of = blob
		}
	}
	sum := sha256.Sum256(of)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// ParseRecipients reads age recipients as the age command takes them: "age1...", or a
// line of an SSH public key of the kinds ssh-ed25519 and ssh-rsa. All of them can decrypt
// what is sealed. An empty list gives nil: no encryption. The examples of shipped configuration
// files are refused.
func ParseRecipients(lines []string) ([]Recipient, error) {
	var out []Recipient
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == Placeholder || line == shippedExample {
			return nil, fmt.Errorf("recipient %d of %d is the example of the shipped configuration files, and what is encrypted to it can never be opened: make a key with `age-keygen -o key.txt`, keep key.txt, and put its public key (age1...) here", i+1, len(lines))
		}
		var r age.Recipient
		var err error
		if strings.HasPrefix(line, "ssh-") {
			r, err = agessh.ParseRecipient(line)
		} else {
			r, err = age.ParseX25519Recipient(line)
		}
		if err != nil { // which may repeat the line, and that may be an identity
			return nil, fmt.Errorf("recipient %d of %d is neither age1... nor a public key of the kind ssh-ed25519 or ssh-rsa", i+1, len(lines))
		}
		out = append(out, Recipient{r, fingerprint(line)})
	}
	return out, nil
}

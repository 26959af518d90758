package seal

import (
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// ParseRecipients reads age recipients as the age command takes them: "age1...", or a
// line of an SSH public key of the kinds ssh-ed25519 and ssh-rsa. All of them can decrypt
// what is sealed. An empty list gives nil: no encryption.
func ParseRecipients(lines []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for i, line := range lines {
		line = strings.TrimSpace(line)
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
		out = append(out, r)
	}
	return out, nil
}

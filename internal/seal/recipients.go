package seal

import (
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// Placeholder is what the shipped configuration files hold in the place of a recipient.
const Placeholder = "age1-PUT-THE-PUBLIC-LINE-OF-YOUR-KEY-HERE"

// shippedExample was the recipient in the configuration files of earlier versions. Its identity
// is lost: what is encrypted to it alone can never be opened.
const shippedExample = "age1defjmu2vkfxgnwhu0x0g4rjf04rhqx3p4yd7n6ewgzujrck8h9qqvaken3"

// ParseRecipients reads age recipients as the age command takes them: "age1...", or a
// line of an SSH public key of the kinds ssh-ed25519 and ssh-rsa. All of them can decrypt
// what is sealed. An empty list gives nil: no encryption. The examples of shipped configuration
// files are refused.
func ParseRecipients(lines []string) ([]age.Recipient, error) {
	var out []age.Recipient
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
		out = append(out, r)
	}
	return out, nil
}

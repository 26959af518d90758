package seal

import (
	"bytes"
	"errors"
	"fmt"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

// NewIdentity makes an age key. text is a file for ParseIdentities and for age; recipient is its
// public part.
func NewIdentity() (text []byte, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", fmt.Errorf("make an age key: %w", err)
	}
	recipient = id.Recipient().String()
	return fmt.Appendf(nil, "# public key: %s\n%s\n", recipient, id), recipient, nil
}

// ParseIdentities reads an identity file: the lines of AGE-SECRET-KEY-1... that age-keygen
// writes, or an SSH private key of the kinds ed25519 and RSA. Identities are private: no
// error repeats any of the file. A key with a passphrase is refused.
func ParseIdentities(file []byte) ([]age.Identity, error) {
	if bytes.Contains(file, []byte("PRIVATE KEY-----")) {
		id, err := agessh.ParseIdentity(file)
		if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			return nil, errors.New("the SSH key has a passphrase: decrypt a copy of it first (ssh-keygen -p)")
		}
		if err != nil {
			return nil, errors.New("not an SSH private key of the kind ed25519 or RSA")
		}
		return []age.Identity{id}, nil
	}
	var out []age.Identity
	for i, line := range bytes.Split(file, []byte("\n")) {
		text := string(bytes.TrimSpace(line))
		if text == "" || text[0] == '#' {
			continue
		}
		id, err := age.ParseX25519Identity(text)
		if err != nil {
			return nil, fmt.Errorf("line %d is not an age identity (AGE-SECRET-KEY-1...)", i+1)
		}
		out = append(out, id)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no identity")
	}
	return out, nil
}

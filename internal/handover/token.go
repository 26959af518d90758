package handover

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// Keys make the tokens of links and recognise them. They are safe for concurrent use.
type Keys struct{ keys [][]byte } // the first makes

// minKey is the shortest link key in characters.
const minKey = 32

// KeyFile is where the link key of a data folder lies.
func KeyFile(dataDir string) string { return filepath.Join(dataDir, "keys", "link.key") }

// OpenKeys returns the keys of the setting LINK_KEY, separated by spaces, commas or new lines,
// or, when that is empty, the key of the data folder, which is made if it is not there.
func OpenKeys(setting secret.String, dataDir string) (*Keys, error) {
	text := setting.Reveal()
	if text == "" {
		b, err := secret.EnsureFile(KeyFile(dataDir), func() ([]byte, error) { return []byte(rand.Text() + rand.Text() + "\n"), nil })
		if err != nil {
			return nil, fmt.Errorf("link key: %w", err)
		}
		text = string(b)
	}
	k := &Keys{}
	for i, key := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		if len(key) < minKey {
			return nil, fmt.Errorf("link key %d has fewer than %d characters: make one with `openssl rand -hex 32`", i+1, minKey)
		}
		k.keys = append(k.keys, []byte(key))
	}
	if len(k.keys) == 0 {
		return nil, errors.New("link key: there is none in it")
	}
	return k, nil
}

// ID names the key that makes tokens now, and tells nothing of it.
func (k *Keys) ID() string { return keyID(k.keys[0]) }

func keyID(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("pgcourier link key"))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Token returns the token of a link by the key that makes tokens now.
func (k *Keys) Token(l Link) string { return token(k.keys[0], l) }

// TokenBy returns the token of a link by the key with an id. ok is false when there is none.
func (k *Keys) TokenBy(id string, l Link) (t string, ok bool) {
	for _, key := range k.keys {
		if keyID(key) == id {
			return token(key, l), true
		}
	}
	return "", false
}

func token(key []byte, l Link) string {
	return strings.TrimPrefix(l.ID, linkPrefix) + "." + base64.RawURLEncoding.EncodeToString(sum(key, l))
}

// sum is the HMAC of a link. Ids hold no zero byte, so that no two links give the same text.
func sum(key []byte, l Link) []byte {
	mac := hmac.New(sha256.New, key)
	for _, field := range []string{
		"pgcourier link v1", l.Project, l.Request, strconv.Itoa(l.Attempt), l.ID, strconv.FormatInt(l.ExpiresAt.Unix(), 10),
	} {
		mac.Write([]byte(field))
		mac.Write([]byte{0})
	}
	return mac.Sum(nil)
}

const (
	idChars  = 26
	sumChars = 43
)

// parseToken returns the link id that a token names, and the sum that it holds. For what is no
// token both are of none: the work that follows is the same.
func parseToken(t string) (id string, mac []byte) {
	if len(t) == idChars+1+sumChars && t[idChars] == '.' && strings.Trim(t[:idChars], "abcdefghijklmnopqrstuvwxyz234567") == "" {
		if mac, err := base64.RawURLEncoding.Strict().DecodeString(t[idChars+1:]); err == nil {
			return linkPrefix + t[:idChars], mac
		}
	}
	return linkPrefix + strings.Repeat("a", idChars), make([]byte, sha256.Size)
}

// recognises reports whether mac is that of a link by any key, in a time that tells nothing.
func (k *Keys) recognises(l Link, mac []byte) bool {
	found := false
	for _, key := range k.keys {
		found = hmac.Equal(sum(key, l), mac) || found
	}
	return found
}

package handover

import (
	"crypto/hkdf"
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

// Keys compute and check the tokens of links. They are safe for concurrent use.
type Keys struct{ keys [][]byte } // the first computes new tokens

// minKey is the shortest link key in characters.
const minKey = 32

// KeyFile returns the path of the link key in a data folder.
func KeyFile(dataDir string) string { return filepath.Join(dataDir, "keys", "link.key") }

// OpenKeys returns the keys of the setting LINK_KEY, separated by spaces, commas or new lines. If that
// is empty, it returns the key of the data folder, which is created if it is missing.
func OpenKeys(setting secret.String, dataDir string) (*Keys, error) {
	text := setting.Reveal()
	if text == "" {
		b, err := secret.EnsureFile(KeyFile(dataDir), func() ([]byte, error) { return []byte(rand.Text() + rand.Text() + "\n"), nil })
		if err != nil {
			return nil, fmt.Errorf("link key: %w", err)
		}
		text = string(b)
	}
	return ParseKeys(text)
}

// ParseKeys returns the keys in a text, separated by spaces, commas or new lines. It needs at least one.
func ParseKeys(text string) (*Keys, error) {
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

// ID returns the id of the key that computes new tokens. The id reveals nothing about the key.
func (k *Keys) ID() string { return keyID(k.keys[0]) }

func keyID(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("pgcourier link key"))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Derive returns a key of 32 bytes for another purpose from each key, that for new values first. It
// reveals nothing about the keys.
func (k *Keys) Derive(purpose string) ([][]byte, error) {
	out := make([][]byte, len(k.keys))
	for i, key := range k.keys {
		var err error
		if out[i], err = hkdf.Key(sha256.New, key, nil, "pgcourier "+purpose, sha256.Size); err != nil {
			return nil, fmt.Errorf("derive a key for %s: %w", purpose, err)
		}
	}
	return out, nil
}

// Token returns the token of a link by the key for new tokens.
func (k *Keys) Token(l Link) string { return token(k.keys[0], l) }

// TokenBy returns the token of a link by the key with an id. ok is false if there is no such key.
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

// sum returns the HMAC of a link. Ids contain no zero byte, so two links never give the same text.
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

// parseToken returns the link id and the HMAC of a token. For a malformed token it returns values of no
// link, so that the same work follows.
func parseToken(t string) (id string, mac []byte) {
	if len(t) == idChars+1+sumChars && t[idChars] == '.' && strings.Trim(t[:idChars], "abcdefghijklmnopqrstuvwxyz234567") == "" {
		if mac, err := base64.RawURLEncoding.Strict().DecodeString(t[idChars+1:]); err == nil {
			return linkPrefix + t[:idChars], mac
		}
	}
	return linkPrefix + strings.Repeat("a", idChars), make([]byte, sha256.Size)
}

// recognises reports whether mac is the HMAC of a link by any key, in constant time.
func (k *Keys) recognises(l Link, mac []byte) bool {
	found := false
	for _, key := range k.keys {
		found = hmac.Equal(sum(key, l), mac) || found
	}
	return found
}

package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// TokenPrefix is the prefix of each token, by which scanners for leaked secrets recognise it.
const TokenPrefix = "pgc_"

var (
	// ErrUnknownToken means that a token does not exist, was revoked or has expired. The answer is the
	// same, so that a caller learns nothing about other tokens.
	ErrUnknownToken = errors.New("the token is unknown, revoked or expired")
	// ErrNoToken means that no token has the id.
	ErrNoToken = errors.New("no such token")
)

// Token is the ledger's record of a token. It does not contain the token.
type Token struct {
	ID           string     `json:"id"`
	Project      string     `json:"project_id"` // or AllProjects
	Scopes       []Scope    `json:"scopes"`
	Label        string     `json:"label,omitempty"` // for people
	CreatedAt    time.Time  `json:"created_at"`
	CreatedBy    string     `json:"created_by,omitempty"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"` // nil: never
	RevokedAt    *time.Time `json:"revoked_at,omitempty"`
	RevokedBy    string     `json:"revoked_by,omitempty"`
	LastUsedAt   *time.Time `json:"last_used_at,omitempty"` // to the minute
	LastUsedFrom string     `json:"last_used_from,omitempty"`
}

// Grant returns the rights of the token.
func (t Token) Grant() Grant {
	g := Grant{Subject: "token:" + t.ID, Projects: []string{t.Project}, Scopes: t.Scopes}
	if t.ExpiresAt != nil {
		g.ExpiresAt = *t.ExpiresAt
	}
	return g
}

// State returns active, expired or revoked.
func (t Token) State(now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !t.ExpiresAt.After(now):
		return "expired"
	}
	return "active"
}

// idChars is the length of a token's id: 50 random bits. The id is not secret.
const idChars = 10

// NewTokenID returns a fresh id.
func NewTokenID() string { return strings.ToLower(rand.Text()[:idChars]) }

// Hash is the hash of a token's secret in the ledger. The secret has 130 random bits, so a plain hash
// resists a search.
type Hash [sha256.Size]byte

const (
	secretChars = 26 // of rand.Text: 130 bits
	checkChars  = 7  // of the CRC-32 of the preceding characters
)

// NewSecret returns a new token and its hash. The token is TokenPrefix, 26 random characters, and a
// checksum of 7, by which malformed tokens are refused without a query of the ledger.
func NewSecret() (secret.String, Hash) {
	body := TokenPrefix + strings.ToLower(rand.Text()[:secretChars])
	token := body + checksum(body)
	return secret.String(token), sha256.Sum256([]byte(token))
}

// HashSecret returns the hash of a token; false: the token is malformed.
func HashSecret(token string) (Hash, bool) {
	if len(token) != len(TokenPrefix)+secretChars+checkChars || !strings.HasPrefix(token, TokenPrefix) {
		return Hash{}, false
	}
	body := token[:len(TokenPrefix)+secretChars]
	return sha256.Sum256([]byte(token)), token == body+checksum(body)
}

func checksum(body string) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body)))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum))
}

// ParseExpiry reads how long a token is valid: a number of days such as 90d, a duration such as
// 12h, or never, which is 0.
func ParseExpiry(text string) (time.Duration, error) {
	if text == "never" {
		return 0, nil
	}
	const day, most = 24 * time.Hour, 3650
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= most {
			return time.Duration(n) * day, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 && d <= most*day {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not a time such as 90d or 12h, at most 3650d, nor never", text)
}

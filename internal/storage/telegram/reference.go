package telegram

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// reference says where a blob is. The file id is of use to its bot only, the message id to
// any bot in the chat: both are kept, so that a blob outlives its bot.
type reference struct {
	bot     int64 // the bot that the file id belongs to
	chat    int64
	message int64
	size    int64
	sha256  [32]byte
	fileID  string
}

const (
	refScheme = "tg1"
	refFields = 7
	// maxFileID bounds file ids. Those of documents are about 90 characters today.
	maxFileID = 400
)

// ref is "tg1.<bot>.<chat>.<message>.<size>.<sha256>.<file id>"; no field holds a dot.
func (r reference) ref() storage.Ref {
	return storage.Ref(strings.Join([]string{
		refScheme, strconv.FormatInt(r.bot, 10), strconv.FormatInt(r.chat, 10), strconv.FormatInt(r.message, 10),
		strconv.FormatInt(r.size, 10), hex.EncodeToString(r.sha256[:]), r.fileID,
	}, "."))
}

// parseReference accepts exactly what ref makes. Everything else is storage.ErrForeign.
func parseReference(ref storage.Ref) (reference, error) {
	foreign := fmt.Errorf("%w: not a reference to a Telegram document", storage.ErrForeign)
	f := strings.Split(string(ref), ".")
	if len(f) != refFields || f[0] != refScheme {
		return reference{}, foreign
	}
	r := reference{fileID: f[6]}
	for i, to := range []*int64{&r.bot, &r.chat, &r.message, &r.size} {
		n, err := strconv.ParseInt(f[i+1], 10, 64)
		if err != nil || n == 0 || n < 0 && to != &r.chat {
			return reference{}, foreign
		}
		*to = n
	}
	sum, err := hex.DecodeString(f[5])
	if err != nil || len(sum) != len(r.sha256) || !plainFileID(r.fileID) {
		return reference{}, foreign
	}
	copy(r.sha256[:], sum)
	if r.ref() != ref { // "+1", "01" and upper-case hex say the same in other words
		return reference{}, foreign
	}
	return r, nil
}

func plainFileID(s string) bool {
	if s == "" || len(s) > maxFileID {
		return false
	}
	for _, r := range s {
		if !plainNameRune(r) || r == '.' {
			return false
		}
	}
	return true
}

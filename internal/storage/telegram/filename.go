package telegram

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// The names of files in the chat. They all end alike, and a name is at most 60 characters,
// since Telegram shortens long ones and long extensions.
const (
	extension     = ".pgc"
	indexName     = "pgcourier-index" + extension
	tombstoneName = "pgcourier-deleted" + extension
	keyHashDigits = 12 // 48 bits: ten thousand exports collide with a chance of 1 in 5 million
	maxReadable   = 22 // of a name: 60 - ".pgc" - "-" - 12 digits - ".part-00540-of-00540"
)

// KeyHash is the part of a file's name that identifies its export: the first 12 hexadecimal
// digits of the SHA-256 of the key.
func KeyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])[:keyHashDigits]
}

// readableID is what people know an export by: its request's id, which begins the last
// segment of the key up to the first dot. The project and the label are not shown.
func readableID(key string) string {
	id, _, _ := strings.Cut(path.Base(key), ".")
	return id
}

// fileName names a blob such that a file downloaded by hand still tells what it is.
func fileName(n storage.Name, parts int) string {
	readable := readableID(n.Key)
	if len(readable) > maxReadable {
		readable = readable[:maxReadable]
	}
	what := ".data"
	of := ""
	if parts > 0 {
		of = fmt.Sprintf("-of-%05d", parts)
	}
	switch {
	case n.Kind == storage.Manifest:
		what = ".manifest" + of
	case n.Part > 0:
		what = fmt.Sprintf(".part-%05d", n.Part) + of
	}
	return readable + "-" + KeyHash(n.Key) + what + extension
}

// caption tells the members of a chat what a file is, and no more than its name does: the
// id, which part, and of how many.
func caption(b storage.Blob) string {
	var s strings.Builder
	fmt.Fprintf(&s, "pgcourier\nid: %s\n", readableID(b.Name.Key))
	switch {
	case b.Name.Kind == storage.Manifest:
		s.WriteString("manifest")
		if b.Parts > 0 {
			fmt.Fprintf(&s, ", parts: %d", b.Parts)
		}
		return s.String()
	case b.Name.Part > 0:
		fmt.Fprintf(&s, "part: %d", b.Name.Part)
	default:
		s.WriteString("data")
	}
	if b.Parts > 0 {
		fmt.Fprintf(&s, " of %d", b.Parts)
	}
	return s.String()
}

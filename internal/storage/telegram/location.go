package telegram

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// The sizes of parts, in bytes.
const (
	// MaxCloudPart is the most that getFile returns of a file on Telegram's own server:
	// 20 MiB. A larger part could be uploaded, up to 50 MB, but never be read back.
	MaxCloudPart = 20 << 20
	// DefaultPartSize leaves a MiB of room below that.
	DefaultPartSize = 19 << 20
	// MaxLocalPart is the limit of a Bot API server of one's own in --local mode: 2,000 MB.
	MaxLocalPart = 2000 << 20
)

// Location is a destination URL,
// telegram://CHAT_ID[?api=URL][&part_size=19MiB][&local_dir=PATH][&message_thread_id=N][&was=CHAT_ID].
type Location struct {
	Chat     int64  // negative for groups and channels
	API      string // ClientConfig.BaseURL; empty: Telegram's own
	LocalDir string // ClientConfig.LocalDir; empty: none
	PartSize int64  // Config.PartSize; 0: the default
	Topic    int64  // Config.Topic; 0: none
	Was      int64  // Config.Was; 0: none
}

// ParseLocation reads a destination URL. The path is not looked at: the URI of an export
// at this destination names the destination too. No token belongs into the URL; one there
// is refused, and errors do not repeat the URL.
func ParseLocation(raw string) (Location, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Location{}, errors.New("telegram URL: not a URL") // err would repeat it
	}
	if u.Scheme != scheme || u.User != nil || u.Opaque != "" {
		return Location{}, errors.New("telegram URL: not of the form telegram://CHAT_ID (the token has its own setting)")
	}
	var l Location
	if l.Chat, err = strconv.ParseInt(u.Host, 10, 64); err != nil || l.Chat == 0 {
		return Location{}, errors.New("telegram URL: the chat is not a number such as -1001234567890")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, errors.New("telegram URL: the query is malformed")
	}
	for name, values := range query {
		if len(values) != 1 {
			return Location{}, fmt.Errorf("telegram URL: %q is given %d times", name, len(values))
		}
		switch name {
		case "api":
			l.API = values[0]
		case "local_dir":
			l.LocalDir = values[0]
		case "part_size":
			if l.PartSize, err = parseSize(values[0]); err != nil {
				return Location{}, err
			}
		case "message_thread_id":
			if l.Topic, err = strconv.ParseInt(values[0], 10, 64); err != nil || l.Topic < 1 {
				return Location{}, errors.New("telegram URL: message_thread_id is not the number of a topic")
			}
		case "was":
			if l.Was, err = strconv.ParseInt(values[0], 10, 64); err != nil || l.Was >= 0 || l.Was == l.Chat {
				return Location{}, errors.New("telegram URL: was is not the former id of a group, such as -4242")
			}
		case "message": // of an export's URI
		default:
			return Location{}, fmt.Errorf("telegram URL: unknown setting %q", name)
		}
	}
	return l, nil
}

// parseSize reads a number of bytes, also as KiB or MiB.
func parseSize(s string) (int64, error) {
	digits, factor := s, int64(1)
	if d, ok := strings.CutSuffix(s, "MiB"); ok {
		digits, factor = d, 1<<20
	} else if d, ok := strings.CutSuffix(s, "KiB"); ok {
		digits, factor = d, 1<<10
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > MaxLocalPart/factor {
		return 0, fmt.Errorf("telegram URL: part_size is not a size of 1 to %d bytes, such as 19MiB", MaxLocalPart)
	}
	return n * factor, nil
}

package telegramtest

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"
)

// reply is an answer of the Bot API.
type reply struct {
	OK          bool           `json:"ok"`
	Result      any            `json:"result,omitempty"`
	Code        int            `json:"error_code,omitempty"`
	Description string         `json:"description,omitempty"`
	Parameters  map[string]any `json:"parameters,omitempty"`
}

func success(result any) reply { return reply{OK: true, Result: result} }

func failure(code int, description string) reply {
	return reply{Code: code, Description: description}
}

func badRequest(why string) reply { return failure(http.StatusBadRequest, "Bad Request: "+why) }

func wholeSeconds(d time.Duration) time.Duration {
	return time.Duration(math.Ceil(d.Seconds())) * time.Second
}

// flood answers that the caller must wait, in whole seconds as Telegram does.
func flood(wait time.Duration) reply {
	seconds := int(wholeSeconds(wait) / time.Second)
	r := failure(http.StatusTooManyRequests, fmt.Sprintf("Too Many Requests: retry after %d", seconds))
	r.Parameters = map[string]any{"retry_after": seconds}
	return r
}

func (r reply) write(w http.ResponseWriter) {
	code := http.StatusOK
	if !r.OK {
		code = r.Code
	}
	raw, err := json.Marshal(r)
	if err != nil { // a fault of this package
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // fails only when the client is gone
}

// describe returns a message as the bot sees it.
func (s *Server) describe(b *bot, c *chat, m *message) map[string]any {
	out := map[string]any{"message_id": m.ID, "date": m.Sent.Unix(), "chat": map[string]any{"id": c.ID, "type": c.Type, "title": c.Title}}
	if m.Bot != 0 && c.Type != "channel" { // in channels the sender is the channel
		out["from"] = map[string]any{"id": m.Bot, "is_bot": true, "first_name": "TEST SERVER"}
	}
	if m.Text != "" {
		out["text"] = m.Text
	}
	if m.Caption != "" {
		out["caption"] = m.Caption
	}
	if f := m.file; f != nil {
		out["document"] = map[string]any{
			"file_id": s.fileID(b.id, f), "file_unique_id": "AgAD" + f.blob,
			"file_name": f.name, "file_size": f.size, "mime_type": "application/octet-stream",
		}
	}
	return out
}

package hooks

import (
	"encoding/json"
	"net/http"
	"strings"
	"text/template"
	"unicode/utf16"
)

// service describes how one service accepts a message. Another service is another row of services.
type service struct {
	method      string
	contentType string // empty: no body
	limit       int    // of the text, as size counts
	size        func(string) int
	body        *template.Template // of a message
	header      map[string]*template.Template
	heartbeat   bool // a monitor of completed or failed exports, not a chat
}

// message is the data of the templates.
type message struct {
	Headline string // one line of ASCII
	Text     string
	Failed   bool
}

// services has a row for each kind of hook. Limits are at most those in the service's
// documentation.
var services = map[string]service{
	// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks: text is cut at 40,000
	// characters, 4,000 are advised; &, < and > are escaped.
	"slack": {
		method: http.MethodPost, contentType: "application/json", limit: 4000, size: utf16Length,
		body: parse(`{"text": {{json (slack .Text)}}}`),
	},
	// https://discord.com/developers/docs/resources/webhook#execute-webhook: content of at most 2,000
	// characters; without allowed_mentions a text could notify all members of a channel.
	"discord": {
		method: http.MethodPost, contentType: "application/json", limit: 2000, size: utf16Length,
		body: parse(`{"content": {{json .Text}}, "allowed_mentions": {"parse": []}}`),
	},
	// https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors: a workflow accepts
	// a message with an Adaptive Card, at most 28 KB; a line break needs an empty line.
	"teams": {
		method: http.MethodPost, contentType: "application/json", limit: 6000, size: utf16Length,
		body: parse(`{"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null,
			"content": {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
			"body": [{"type": "TextBlock", "wrap": true, "text": {{json (paragraphs .Text)}}}]}}]}`),
	},
	// https://docs.ntfy.sh/publish: 4,096 bytes; a longer text becomes a file.
	"ntfy": {
		method: http.MethodPost, contentType: "text/plain; charset=utf-8", limit: 4096, size: func(s string) int { return len(s) },
		body: parse(`{{.Text}}`),
		header: map[string]*template.Template{
			"Title": parse(`{{.Headline}}`), "Priority": parse(`{{if .Failed}}high{{else}}default{{end}}`), "Tags": parse(`{{if .Failed}}warning{{else}}white_check_mark{{end}}`),
		},
	},
	// healthchecks.io, Uptime Kuma, Better Stack, Cronitor and Dead Man's Snitch all accept this
	// request.
	"heartbeat": {method: http.MethodGet, heartbeat: true},
}

func utf16Length(s string) int { return len(utf16.Encode([]rune(s))) }

func parse(text string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"json": func(s string) (string, error) {
			b, err := json.Marshal(s)
			return string(b), err
		},
		"slack":      strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace,
		"paragraphs": func(s string) string { return strings.ReplaceAll(s, "\n", "\n\n") },
	}).Parse(text))
}

package term

import (
	"strconv"
	"time"
)

// Attempt is one attempt at an export or a restore, as show writes it as JSON.
type Attempt struct {
	Attempt   int        `json:"attempt"`
	Worker    string     `json:"worker"`
	Delivery  int        `json:"delivery"`
	Result    string     `json:"result"` // running, completed, retry, superseded or failed
	Code      string     `json:"code,omitempty"`
	Message   string     `json:"message,omitempty"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

var attemptColumns = []Column{
	{Title: "ATTEMPT"}, {Title: "RESULT"}, {Title: "DELIVERY", Drop: 3}, {Title: "STARTED", Drop: 1}, {Title: "ENDED", Drop: 4},
	{Title: "WORKER", Drop: 2}, {Title: "CAUSE"},
}

// Attempts shows attempts in a table below an empty line; nothing if there are none.
func (s Screen) Attempts(all []Attempt) string {
	if len(all) == 0 {
		return ""
	}
	table := Table{Columns: attemptColumns}
	for _, t := range all {
		cause := t.Code
		if t.Message != "" {
			cause += ": " + t.Message
		}
		table.Add(strconv.Itoa(t.Attempt), t.Result, strconv.Itoa(t.Delivery), Time(&t.StartedAt), Time(t.EndedAt), t.Worker, cause)
	}
	return "\n" + table.Text(s)
}

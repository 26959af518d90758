package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// origin holds the fields of a request that its outcome repeats. It is stored beside the payload,
// which only the contract's decoder can parse.
type origin struct {
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

func encodeOrigin(r export.Request) ([]byte, error) {
	b, err := json.Marshal(origin{r.RequestedBy, r.Metadata})
	if err != nil {
		return nil, fmt.Errorf("encode origin: %w", err)
	}
	return b, nil
}

// storedOutcome is an outcome as its column holds it: without the request, which has its own column
// that preserves every byte, and without an unknown end.
type storedOutcome struct {
	export.Outcome
	Payload    *struct{}  `json:"request,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

func encodeOutcome(o export.Outcome) ([]byte, error) {
	s := storedOutcome{Outcome: o}
	if !o.FinishedAt.IsZero() {
		s.FinishedAt = &o.FinishedAt
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode outcome: %w", err)
	}
	return b, nil
}

// record holds the columns of a request from which its outcome is made.
type record struct {
	Outcome    []byte     `db:"outcome"`
	Payload    []byte     `db:"payload"` // null when refused
	FinishedAt *time.Time `db:"finished_at"`
}

// recordColumns selects a record.
const recordColumns = `outcome, CASE WHEN NOT refused THEN payload END AS payload, finished_at`

// decode returns the outcome as it was announced. Without its own end it gets the row's.
func (r record) decode() (export.Outcome, error) {
	var o export.Outcome
	if err := json.Unmarshal(r.Outcome, &o); err != nil {
		return export.Outcome{}, fmt.Errorf("decode outcome: %w", err)
	}
	if o.FinishedAt.IsZero() && r.FinishedAt != nil {
		o.FinishedAt = r.FinishedAt.UTC()
	}
	o.Payload = r.Payload
	return o, nil
}

// text makes s valid for a text column, which accepts neither NUL nor invalid UTF-8.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}

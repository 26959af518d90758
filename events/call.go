package events

import (
	"time"

	"github.com/go-json-experiment/json"
)

// ExportCall is the body of a call of the API over NATS that concerns one export: CallStatus and
// CallCancel. The body of CallRequest is a Requested.
type ExportCall struct {
	// RequestID is the request that led to the export. Required.
	RequestID string `json:"request_id"`
	// ProjectID may be left out: the subject names the project.
	ProjectID string `json:"project_id,omitempty"`
}

// ListCall is the body of a CallList. Its zero value asks for the first page of all exports.
type ListCall struct {
	// State selects exports by their state: waiting, running, completed, failed, cancelled. Empty: all.
	State []string `json:"state,omitempty"`
	// Since selects exports that were first seen at or after a time. Zero: all.
	Since time.Time `json:"since,omitzero"`
	// Limit is the most that a page holds, up to 200. Default: 50.
	Limit int `json:"limit,omitempty"`
	// Cursor is next_cursor of the page before. Empty: the first page.
	Cursor string `json:"cursor,omitempty"`
}

// defaultPage is the size of a page that no ListCall.Limit bounds.
const defaultPage = 50

// Encode encodes c for CallSubject. The error is an *InvalidError.
func (c ExportCall) Encode() (Message, error) {
	body, err := encodePlain(TypeExportCall, c)
	return Message{Header: map[string]string{HeaderContentType: mediaJSON}, Body: body}, err
}

// Encode encodes c for CallSubject. The error is an *InvalidError.
func (c ListCall) Encode() (Message, error) {
	body, err := encodePlain(TypeListCall, c)
	return Message{Header: map[string]string{HeaderContentType: mediaJSON}, Body: body}, err
}

// DecodeExportCall reads the body of a call for a project strictly: what the contract does not name is
// refused, and so is another project. The error is an *InvalidError.
func DecodeExportCall(project string, m Message) (ExportCall, error) {
	var c ExportCall
	if err := decodeCall(TypeExportCall, m, &c); err != nil {
		return ExportCall{}, err
	}
	if c.ProjectID != "" && c.ProjectID != project {
		return ExportCall{}, invalid("project_id", "contradicts the subject")
	}
	c.ProjectID = project
	return c, nil
}

// DecodeListCall reads the body of a call strictly. An empty body is the zero ListCall. Limit is set to
// its default where it is absent. The error is an *InvalidError.
func DecodeListCall(m Message) (ListCall, error) {
	if len(m.Body) == 0 {
		m.Body = []byte("{}")
	}
	c := ListCall{Limit: defaultPage}
	if err := decodeCall(TypeListCall, m, &c); err != nil {
		return ListCall{}, err
	}
	return c, nil
}

func decodeCall(name string, m Message, into any) error {
	header, err := foldHeader(m.Header)
	if err == nil {
		_, err = checkContent(header)
	}
	if err != nil {
		return err
	}
	doc, err := parseStrict(m.Body, MaxRequestBytes)
	if err == nil {
		err = theContract().check(name, doc, false)
	}
	if err != nil {
		return err
	}
	if json.Unmarshal(m.Body, into) != nil {
		return invalid(bodyField, "does not have the types of the contract")
	}
	return nil
}

package events

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
)

// TypeRestoreRequested is the type of a request for a restore, and begins the subjects of such
// requests.
const TypeRestoreRequested = "restore.requested"

// The words that stand for a request id in RestoreFrom.
const (
	// LatestExport is the project's newest completed export.
	LatestExport = "latest"
	// LatestVerified is the project's newest completed export that was verified.
	LatestVerified = "latest_verified"
)

// RestoreMode is how a restore treats what the target holds.
type RestoreMode string

// The modes of the contract.
const (
	RestoreCreate  RestoreMode = "create"  // the target must be absent or empty; the default
	RestoreReplace RestoreMode = "replace" // what the target holds is set aside in the same transaction
)

// RestoreRequested asks to restore an export into a project. The database and the schema are the
// control plane's answer for ProjectID. The zero value of each field but ProjectID and From means
// that it is absent. The limits are in schemas/restore.requested.v1.json.
type RestoreRequested struct {
	// ProjectID is the project to restore into. Required.
	ProjectID string `json:"project_id"`
	// RestoreID is unique within the project. Absent: Client.RequestRestore makes one; of a message
	// that came without one, the restorer derives it from its place in the stream.
	RestoreID string `json:"restore_id,omitempty"`
	// From is the export. Required.
	From RestoreFrom `json:"from"`
	// Mode defaults to RestoreCreate.
	Mode RestoreMode `json:"mode,omitempty"`
	// Schemas are exact names of the export's schemas; their order has no meaning. Absent: all.
	Schemas []string `json:"schemas,omitempty"`
	// Tables are single tables to restore, as schema.table; a name with a dot or a double quote is
	// quoted as in SQL. Absent: whole schemas.
	Tables []string `json:"tables,omitempty"`
	// Plan asks what the restore would do. Nothing is changed.
	Plan bool `json:"plan,omitzero"`
	// RequestedBy names the requester, for people.
	RequestedBy string `json:"requested_by,omitempty"`
	// Metadata is handed through to the outcome.
	Metadata map[string]string `json:"metadata,omitempty"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// RestoreFrom names the export to restore.
type RestoreFrom struct {
	// ProjectID is the project of the export. Absent: the project to restore into.
	ProjectID string `json:"project_id,omitempty"`
	// RequestID is the request that led to the export, or LatestExport or LatestVerified. Required.
	RequestID string `json:"request_id"`
}

// RestoreSubject is the subject of the restores into a project.
func RestoreSubject(project string) string { return TypeRestoreRequested + "." + project }

// Normalize returns r with defaults applied, and Schemas and Tables sorted, or an *InvalidError if r
// breaks the contract. r is not changed.
func (r RestoreRequested) Normalize() (RestoreRequested, error) {
	body, err := marshal(r)
	if err != nil {
		return RestoreRequested{}, err
	}
	doc, err := parseStrict(body, MaxRequestBytes)
	if err != nil {
		return RestoreRequested{}, err
	}
	if err := checkRestore(doc); err != nil {
		return RestoreRequested{}, err
	}
	return r.normal(), nil
}

// normal is Normalize for a request that is known to keep the contract.
func (r RestoreRequested) normal() RestoreRequested {
	if r.Mode == "" {
		r.Mode = RestoreCreate
	}
	if r.From.ProjectID == "" {
		r.From.ProjectID = r.ProjectID
	}
	if len(r.Metadata) == 0 {
		r.Metadata = nil // as absent, which is how it is written
	}
	r.Schemas = slices.Sorted(slices.Values(r.Schemas))
	r.Tables = slices.Sorted(slices.Values(r.Tables))
	r.Trace = r.Trace.wellFormed()
	return r
}

// Canonical returns r, normalized, as JSON. Two spellings of the same request give the same bytes.
// The error is an *InvalidError.
func (r RestoreRequested) Canonical() ([]byte, error) {
	n, err := r.Normalize()
	if err != nil {
		return nil, err
	}
	return marshal(n)
}

// Encode encodes r, normalized, for its project's subject. It needs a RestoreID. The message has no
// ce-time, so that publishing the request again publishes the same bytes. The error is an
// *InvalidError.
func (r RestoreRequested) Encode(source string) (Message, error) {
	n, err := r.Normalize()
	if err != nil {
		return Message{}, err
	}
	if n.RestoreID == "" {
		return Message{}, invalid("restore_id", "is missing")
	}
	return encode(n, envelope{
		eventType: TypeRestoreRequested,
		natsSubj:  RestoreSubject(n.ProjectID),
		project:   n.ProjectID,
		request:   n.RestoreID,
		trace:     n.Trace,
	}, source)
}

// DecodeRestore reads a request for a restore from any publisher, as Decode does a request for an
// export. The subject must be the project's (RestoreSubject); the body must not name another
// project.
//
// The error is an *InvalidError. With it comes a RestoreRequested that holds nothing but the
// ProjectID, RestoreID and RequestedBy that are valid, each perhaps empty.
func DecodeRestore(m Message) (RestoreRequested, error) {
	data, doc, trace, err := open(m, TypeRestoreRequested)
	if err == nil {
		err = checkRestore(doc)
	}
	var r RestoreRequested
	if err == nil && json.Unmarshal(data, &r) != nil {
		err = invalid(bodyField, "does not have the types of the contract")
	}
	project, subjectErr := restoreProject(m.Subject)
	if err == nil {
		err = subjectErr
	}
	if err == nil && project != r.ProjectID {
		err = invalid("project_id", "contradicts the subject")
	}
	if err != nil {
		return identifiedRestore(doc, project), err
	}
	r.Trace = trace
	return r.normal(), nil
}

// DecodeRestoreFor is DecodeRestore for a request with a project that is known from elsewhere, such
// as the path of an HTTP call. The subject is not looked at. The body may leave out project_id; it
// must not name another project.
func DecodeRestoreFor(project string, m Message) (RestoreRequested, error) {
	if !ValidProject(project) {
		return RestoreRequested{}, invalid("project_id", idRule+", and not \"_\" alone")
	}
	data, doc, trace, err := open(m, TypeRestoreRequested)
	if err != nil {
		return RestoreRequested{}, err
	}
	if _, named := doc["project_id"]; !named {
		doc["project_id"] = project
	}
	if err := checkRestore(doc); err != nil {
		return RestoreRequested{}, err
	}
	var r RestoreRequested
	if json.Unmarshal(data, &r) != nil {
		return RestoreRequested{}, invalid(bodyField, "does not have the types of the contract")
	}
	if r.ProjectID != "" && r.ProjectID != project {
		return RestoreRequested{}, invalid("project_id", "contradicts the path")
	}
	r.ProjectID, r.Trace = project, trace
	return r.normal(), nil
}

// restoreProject returns the project token of a subject.
func restoreProject(subject string) (string, error) {
	eventType, rest := splitSubject(subject)
	if eventType != TypeRestoreRequested || len(rest) != 1 || !ValidRequest(rest[0]) {
		return "", invalid("subject", "must be "+RestoreSubject("<project_id>"))
	}
	return rest[0], nil
}

// identifiedRestore is identified for a request for a restore.
func identifiedRestore(doc map[string]any, project string) RestoreRequested {
	var r RestoreRequested
	if ValidProject(project) {
		r.ProjectID = project
	}
	if id, _ := doc["restore_id"].(string); ValidRequest(id) {
		r.RestoreID = id
	}
	if by, ok := doc["requested_by"].(string); ok && theContract().requestedBy.Validate(by) == nil {
		r.RequestedBy = by
	}
	return r
}

// checkRestore holds a parsed request against the contract: its schema, and the rules that are only
// possible in code.
func checkRestore(doc map[string]any) error {
	if err := theContract().check(TypeRestoreRequested, doc, false); err != nil {
		return err
	}
	schemas, _ := doc["schemas"].([]any)
	for i, v := range schemas {
		if name, _ := v.(string); len(name) > maxSchemaBytes {
			return invalid(fmt.Sprintf("schemas[%d]", i), fmt.Sprintf("must have at most %d bytes", maxSchemaBytes))
		}
	}
	tables, _ := doc["tables"].([]any)
	for i, v := range tables {
		name, _ := v.(string)
		t := SplitTable(name)
		if len(t.Schema) > maxSchemaBytes || len(t.Name) > maxSchemaBytes {
			return invalid(fmt.Sprintf("tables[%d]", i), fmt.Sprintf("must have at most %d bytes in each name", maxSchemaBytes))
		}
		if len(schemas) > 0 && !slices.Contains(schemas, any(t.Schema)) {
			return invalid(fmt.Sprintf("tables[%d]", i), "must be of one of the schemas")
		}
	}
	return nil
}

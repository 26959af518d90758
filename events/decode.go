package events

import (
	"github.com/go-json-experiment/json"
)

// Decode reads a request from any publisher: CloudEvents binary mode, structured mode, or a bare
// JSON body without headers. The result is normalized (see Requested.Normalize).
//
// The subject may be empty, TypeRequested, or a project's (RequestSubject); the body
// must not name another project than the subject does.
//
// The error is an *InvalidError. With it comes a Requested that holds nothing but the valid
// ones of ProjectID, RequestID and RequestedBy; the others are empty. The project is the
// subject's if the subject names one. A body that is not strict JSON within the size limit
// gives none.
func Decode(m Message) (Requested, error) {
	data, doc, trace, err := open(m, TypeRequested)
	if err == nil {
		err = checkRequested(doc)
	}
	var r Requested
	if err == nil && json.Unmarshal(data, &r) != nil {
		err = invalid(bodyField, "does not have the types of the contract")
	}
	project, subjectErr := subjectProject(m.Subject)
	if err == nil {
		err = subjectErr
	}
	if err == nil && project != "" && project != r.ProjectID {
		err = invalid("project_id", "contradicts the subject")
	}
	if err != nil {
		return identified(doc, m.Subject), err
	}
	r.Trace = trace
	return r.normal(), nil
}

// subjectProject returns the project token of a request's subject, "" for a subject
// without one.
func subjectProject(subject string) (string, error) {
	if subject == "" || subject == TypeRequested {
		return "", nil
	}
	eventType, rest := splitSubject(subject)
	if eventType != TypeRequested || len(rest) != 1 {
		return "", invalid("subject", "must be "+TypeRequested+" or "+RequestSubject("<project_id>"))
	}
	if !ValidRequest(rest[0]) {
		return "", invalid("subject", "must end in a valid project id")
	}
	return rest[0], nil
}

// identified returns the ids by which a refused request is recorded. A project in the subject
// takes precedence over the body: the broker checked the publisher's right to that subject. Under
// a subject without a valid project (NoProject, or a malformed one) the body's project is ignored
// too.
func identified(doc map[string]any, subject string) Requested {
	var r Requested
	project, err := subjectProject(subject)
	if project == "" && err == nil {
		project, _ = doc["project_id"].(string)
	}
	if ValidProject(project) {
		r.ProjectID = project
	}
	if id, _ := doc["request_id"].(string); ValidRequest(id) {
		r.RequestID = id
	}
	if by, ok := doc["requested_by"].(string); ok && theContract().requestedBy.Validate(by) == nil {
		r.RequestedBy = by
	}
	return r
}

package events

import "github.com/go-json-experiment/json"

// DecodeFor is Decode for a request with a project that is known from elsewhere, such as the path of an
// HTTP call. The subject is not looked at. The body may leave out project_id; it must not name
// another project.
func DecodeFor(project string, m Message) (Requested, error) {
	if !ValidProject(project) {
		return Requested{}, invalid("project_id", idRule+", and not \"_\" alone")
	}
	data, doc, trace, err := open(m, TypeRequested)
	if err != nil {
		return Requested{}, err
	}
	if _, named := doc["project_id"]; !named {
		doc["project_id"] = project
	}
	if err := checkRequested(doc); err != nil {
		return Requested{}, err
	}
	var r Requested
	if json.Unmarshal(data, &r) != nil {
		return Requested{}, invalid(bodyField, "does not have the types of the contract")
	}
	if r.ProjectID != "" && r.ProjectID != project {
		return Requested{}, invalid("project_id", "contradicts the path")
	}
	r.ProjectID, r.Trace = project, trace
	return r.normal(), nil
}

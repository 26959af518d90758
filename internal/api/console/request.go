package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/pgcourier/pgcourier/internal/api"
)

// requestData is the content of the form for a new export.
type requestData struct {
	Key, Project, Format, Compression, Level, Schemas, StoragePath, NotifyEmail string
	Formats, Compressions, Levels                                               []string
	Fault                                                                       string
}

var (
	requestFormats = []string{"sql", "custom", "directory", "tar"}
	compressions   = []string{"gzip", "zstd", "none"}
	levels         = []string{"fast", "default", "best"}
)

func (v *view) requestForm() error {
	if err := v.Require(api.CreateExport); err != nil {
		return err
	}
	return v.showRequest(http.StatusOK, requestData{Key: newRequestKey(), Project: v.parameter("project"), Format: "sql", Compression: "gzip"})
}

func (v *view) showRequest(status int, d requestData) error {
	d.Formats, d.Compressions, d.Levels = requestFormats, compressions, levels
	return v.showStatus(status, "request", frame{Title: "Ask for an export", Tab: "Exports", Crumbs: []crumb{{"Exports", pathOf("exports")}}, Body: d})
}

// request asks for an export.
func (v *view) request() error {
	get := func(name string) string { return parameter(v.r.PostForm.Get(name)) }
	d := requestData{
		Key: get("request_id"), Project: get("project"), Format: get("format"), Compression: get("compression"), Level: get("compression_level"), Schemas: get("schemas"),
		StoragePath: get("storage_path"), NotifyEmail: get("notify_email"),
	}
	of := map[string]any{}
	for name, value := range map[string]string{
		"request_id": d.Key, "format": d.Format, "compression": d.Compression, "compression_level": d.Level, "storage_path": d.StoragePath, "notify_email": d.NotifyEmail,
	} {
		if value != "" {
			of[name] = value
		}
	}
	if d.Schemas != "" {
		of["schemas"] = strings.FieldsFunc(d.Schemas, func(r rune) bool { return r == '\n' || r == '\r' })
	}
	body, err := json.Marshal(of)
	if err != nil {
		return err
	}
	e, err := v.Create(v.r.Context(), d.Project, body)
	if p, told := errors.AsType[*api.Problem](err); told && (p.Status == http.StatusUnprocessableEntity || p.Status == http.StatusTooManyRequests || p.Status == http.StatusConflict) {
		d.Fault = sentence(p.Detail)
		return v.showRequest(p.Status, d)
	}
	if err != nil {
		return err
	}
	return v.redirect(pathOf("exports", e.ProjectID, e.RequestID), "requested")
}

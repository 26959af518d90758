package events

import (
	"fmt"
	"slices"
)

// Format is a kind of archive.
type Format string

// The formats of the contract.
const (
	FormatSQL       Format = "sql"       // a plain script; the default
	FormatTar       Format = "tar"       // pg_dump's tar archive
	FormatCustom    Format = "custom"    // pg_dump's custom archive
	FormatDirectory Format = "directory" // pg_dump's directory archive, several tables at a time, as one tar
)

// Compression is what is applied to a dump before it is stored.
type Compression string

// The compressions of the contract.
const (
	CompressionGzip Compression = "gzip" // the default
	CompressionZstd Compression = "zstd"
	CompressionNone Compression = "none"
)

// CompressionLevel is how much work the compression does for a smaller export.
type CompressionLevel string

// The levels of the contract.
const (
	CompressionFast    CompressionLevel = "fast" // the least work: UUIDs, hex and base64 are hardly compressed
	CompressionDefault CompressionLevel = "default"
	CompressionBest    CompressionLevel = "best" // the smallest export
)

// maxSchemaBytes is PostgreSQL's limit for a name (NAMEDATALEN - 1). The schema file
// says it as "x-maxBytes", because JSON Schema counts characters only.
const maxSchemaBytes = 63

// Requested asks for an export of one project. The zero value of each field but
// ProjectID means that it is absent. The limits of each field are in
// schemas/backup.requested.v1.json.
type Requested struct {
	// ProjectID names the project in the control plane. Required.
	ProjectID string `json:"project_id"`
	// RequestID is unique within the project. Absent: Client.RequestBackup makes one; of
	// a message that came without one, the worker derives it from its place in the stream.
	RequestID string `json:"request_id,omitempty"`
	// Schemas are exact names, as the server knows them; their order has no meaning.
	// Absent: all of the project's.
	Schemas []string `json:"schemas,omitempty"`
	// Format defaults to FormatSQL.
	Format Format `json:"format,omitempty"`
	// Compression defaults to CompressionGzip.
	Compression Compression `json:"compression,omitempty"`
	// Compress is the older spelling of Compression: true is gzip (or what Compression
	// says), false is none. Normalize resolves it and leaves nil.
	//
	// Deprecated: use Compression.
	Compress *bool `json:"compress,omitzero"`
	// CompressionLevel goes with CompressionGzip and CompressionZstd. Absent: the control plane's
	// choice for the project, else the workers'.
	CompressionLevel CompressionLevel `json:"compression_level,omitempty"`
	// Jobs is how many tables are dumped at a time, 1 to 16, with FormatDirectory only. The
	// worker may allow fewer. Absent: the worker chooses by the size.
	Jobs int `json:"jobs,omitzero"`
	// StoragePath is a label under the project's own prefix of the storage, such as
	// "nightly/2026".
	StoragePath string `json:"storage_path,omitempty"`
	// NotifyEmail is one plain address to tell of the outcome.
	NotifyEmail string `json:"notify_email,omitempty"`
	// RequestedBy names the requester, for people.
	RequestedBy string `json:"requested_by,omitempty"`
	// Metadata is handed through to the outcome.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Recipients are public keys to encrypt to, beside the operator's and the project's: at
	// most 10 age recipients or lines of SSH public keys. Their order has no meaning, nor
	// has the comment of an SSH key.
	Recipients []string `json:"recipients,omitempty"`
	// Deliver asks for a download link. Nil: none.
	Deliver *Deliver `json:"deliver,omitzero"`
	// ReplayOf is the request id that a chain of replays began with, and Generation this
	// replay's place in it, from 1. Both or none. See Replay.
	ReplayOf   string `json:"replay_of,omitempty"`
	Generation int    `json:"generation,omitzero"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// Normalize returns r with defaults applied, Compress resolved and Schemas sorted, or
// an *InvalidError if r breaks the contract. r is not changed.
func (r Requested) Normalize() (Requested, error) {
	body, err := marshal(r)
	if err != nil {
		return Requested{}, err
	}
	doc, err := parseStrict(body, MaxRequestBytes)
	if err != nil {
		return Requested{}, err
	}
	if err := checkRequested(doc); err != nil {
		return Requested{}, err
	}
	return r.normal(), nil
}

// normal is Normalize for a request that is known to keep the contract.
func (r Requested) normal() Requested {
	if r.Format == "" {
		r.Format = FormatSQL
	}
	if r.Compression == "" {
		r.Compression = CompressionGzip
		if r.Compress != nil && !*r.Compress {
			r.Compression = CompressionNone
		}
	}
	r.Compress = nil
	if len(r.Metadata) == 0 {
		r.Metadata = nil // as absent, which is how it is written
	}
	r.Schemas = slices.Sorted(slices.Values(r.Schemas))
	r.Recipients = canonicalRecipients(r.Recipients)
	r.Deliver = r.Deliver.normal()
	r.Trace = r.Trace.wellFormed()
	return r
}

// Canonical returns r, normalized, as JSON. Two spellings of the same request give the
// same bytes. The error is an *InvalidError.
func (r Requested) Canonical() ([]byte, error) {
	n, err := r.Normalize()
	if err != nil {
		return nil, err
	}
	return marshal(n)
}

// Encode encodes r, normalized, for its project's queue. It needs a RequestID. The
// message has no ce-time, so that publishing the request again publishes the same bytes;
// the broker notes when it came. The error is an *InvalidError.
func (r Requested) Encode(source string) (Message, error) {
	n, err := r.Normalize()
	if err != nil {
		return Message{}, err
	}
	if n.RequestID == "" {
		return Message{}, invalid("request_id", "is missing")
	}
	return encode(n, envelope{
		eventType: TypeRequested,
		natsSubj:  RequestSubject(n.ProjectID),
		project:   n.ProjectID,
		request:   n.RequestID,
		trace:     n.Trace,
	}, source)
}

// checkRequested holds a parsed request against the contract: its schema, and the rules
// that are clearer, or only possible, in code.
func checkRequested(doc map[string]any) error {
	if err := checkCompress(doc); err != nil {
		return err
	}
	if err := checkLevel(doc); err != nil {
		return err
	}
	if err := checkReplay(doc); err != nil {
		return err
	}
	if _, jobs := doc["jobs"]; jobs && doc["format"] != string(FormatDirectory) {
		return invalid("jobs", "goes with format \"directory\" only")
	}
	if err := theContract().check(TypeRequested, doc, false); err != nil {
		return err
	}
	if err := checkDeliver(doc); err != nil {
		return err
	}
	names, _ := doc["schemas"].([]any)
	for i, v := range names {
		if name, _ := v.(string); len(name) > maxSchemaBytes {
			return invalid(fmt.Sprintf("schemas[%d]", i), fmt.Sprintf("must have at most %d bytes", maxSchemaBytes))
		}
	}
	return nil
}

// checkCompress reports a contradiction in a clearer text than the schema's conditions.
func checkCompress(doc map[string]any) error {
	compress, ok := doc["compress"].(bool)
	compression, named := doc["compression"].(string)
	if ok && named && compress == (Compression(compression) == CompressionNone) {
		return invalid("compress", "contradicts compression")
	}
	return nil
}

// checkLevel reports a level without a compression, in a clearer text than the schema.
func checkLevel(doc map[string]any) error {
	compress, ok := doc["compress"].(bool)
	if _, level := doc["compression_level"]; level && (doc["compression"] == string(CompressionNone) || ok && !compress) {
		return invalid("compression_level", "goes with compression \"gzip\" or \"zstd\" only")
	}
	return nil
}

// checkReplay reports a replay without both of its fields, in a clearer text than the schema.
func checkReplay(doc map[string]any) error {
	_, of := doc["replay_of"]
	_, generation := doc["generation"]
	switch {
	case of && !generation:
		return invalid("generation", "is missing beside replay_of")
	case generation && !of:
		return invalid("replay_of", "is missing beside generation")
	}
	return nil
}

package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/pgcourier/pgcourier/events"
)

// Summary is the text of an event for people. Every text in it is one line of printable characters.
type Summary struct {
	Completed bool
	Project   string
	Request   string
	// Headline is the whole event in one line: what happened, to which project, with the size or the
	// cause. It contains ids, codes and numbers only, so it is safe in the header of a mail.
	Headline string
	Facts    []Fact
	// Locations are the URIs of the export, primary first.
	Locations []string
	// Next introduces Commands. It ends with a colon.
	Next     string
	Commands []string
	Warnings []string
	// Link is the URL of a download link. Empty: none.
	Link string
}

// Fact is one line of a summary.
type Fact struct{ Name, Value string }

// maxWarnings bounds the listed warnings. The outcome contains all of them.
const maxWarnings = 20

// Summarize returns the summary of an event. It returns the zero Summary for an event type without
// one.
func Summarize(of events.Event) Summary {
	switch {
	case of.Completed != nil:
		return completed(*of.Completed)
	case of.Failed != nil:
		return failed(*of.Failed)
	case of.VerificationFailed != nil:
		return verificationFailed(*of.VerificationFailed)
	case of.Expiring != nil:
		return expiring(*of.Expiring)
	case of.LinkIssued != nil:
		return linkIssued(*of.LinkIssued)
	}
	return Summary{}
}

// linkIssued leaves Link empty, because the event does not contain it.
func linkIssued(l events.LinkIssued) Summary {
	s := Summary{
		Completed: true, Project: l.ProjectID, Request: l.RequestID,
		Headline: "Export of " + l.ProjectID + " is ready to be downloaded",
	}
	s.fact("project", l.ProjectID)
	s.fact("request", l.RequestID)
	s.fact("valid until", l.ExpiresAt.UTC().Format("2 January 2006, 15:04 UTC"))
	if l.MaxDownloads > 0 {
		s.fact("downloads", strconv.Itoa(l.MaxDownloads)+" at most")
	}
	s.fact("issued by", l.IssuedBy)
	return s
}

func verificationFailed(f events.VerificationFailed) Summary {
	s := Summary{
		Project: f.ProjectID, Request: f.RequestID,
		Headline: "Export of " + f.ProjectID + " is damaged (" + string(f.Code) + ")",
		Next:     "How to see which copy is bad, and to ask for a new export:",
		Commands: []string{"pgcourier verify " + f.ProjectID + "/" + f.RequestID, "pgcourier request " + f.ProjectID},
	}
	s.fact("project", f.ProjectID)
	s.fact("request", f.RequestID)
	s.fact("cause", string(f.Code)+": "+f.Message)
	s.fact("destination", f.Destination)
	s.fact("attempt", strconv.Itoa(f.Attempt))
	s.fact("verified", f.FinishedAt.UTC().Format(time.RFC3339))
	s.fact("sha256", f.SHA256)
	return s
}

func expiring(e events.Expiring) Summary {
	s := Summary{
		Project: e.ProjectID, Request: e.RequestID,
		Headline: "Export of " + e.ProjectID + " will be deleted (" + size(e.StoredBytes) + ")",
		Next:     "How to fetch it before that:",
		Commands: []string{"pgcourier download " + e.ProjectID + "/" + e.RequestID},
	}
	s.fact("project", e.ProjectID)
	s.fact("request", e.RequestID)
	s.fact("reason", e.Reason)
	s.fact("deleted at the earliest", e.ExpiresAt.UTC().Format(time.RFC3339))
	s.fact("completed", e.CompletedAt.UTC().Format(time.RFC3339))
	for _, c := range e.Copies {
		s.Locations = append(s.Locations, line(c.URI))
	}
	return s
}

func completed(c events.Completed) Summary {
	stored := size(c.StoredBytes)
	s := Summary{
		Completed: true, Project: c.ProjectID, Request: c.RequestID,
		Headline: "Export of " + c.ProjectID + " completed (" + stored + ")",
		Next:     "How to restore it, once fetched into the file EXPORT:",
		Commands: restore(c),
	}
	s.fact("project", c.ProjectID)
	s.fact("request", c.RequestID)
	s.fact("size", size(c.SizeBytes)+" dumped, "+stored+" stored")
	s.fact("contents", strconv.FormatInt(c.Rows, 10)+" rows in "+strconv.FormatInt(c.Tables, 10)+" tables, counted in the dump and in the database")
	s.fact("schemas", strings.Join(c.Schemas, ", "))
	s.fact("form", string(c.Format)+", compression "+string(c.Compression)+", encryption "+string(c.Encryption))
	s.fact("took", took(c.DurationMS))
	s.fact("finished", c.FinishedAt.UTC().Format(time.RFC3339))
	s.fact("sha256", c.SHA256)
	s.fact("requested by", c.RequestedBy)
	for _, l := range c.Storage {
		if l.Status == events.LocationFailed {
			s.Warnings = append(s.Warnings, line("not stored at "+l.Destination+": "+string(l.Code)+" "+l.Message))
			continue
		}
		s.Locations = append(s.Locations, line(l.URI))
	}
	for _, w := range c.Warnings[:min(len(c.Warnings), maxWarnings)] {
		s.Warnings = append(s.Warnings, line(w))
	}
	if more := len(c.Warnings) - maxWarnings; more > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("and %d more, which the outcome has", more))
	}
	return s
}

func failed(f events.Failed) Summary {
	project := f.ProjectID
	if project == events.NoProject {
		project = "an unknown project"
	}
	s := Summary{
		Project: f.ProjectID, Request: f.RequestID,
		Headline: "Export of " + project + " failed (" + string(f.Code) + ")",
	}
	s.fact("project", f.ProjectID)
	s.fact("request", f.RequestID)
	s.fact("cause", string(f.Code)+": "+f.Message)
	s.fact("attempts", strconv.Itoa(f.Attempts))
	kind := "it may work when it is asked for again"
	if f.Permanent {
		kind = "asking again without a change cannot help"
	}
	s.fact("kind", kind)
	if !f.StartedAt.IsZero() {
		s.fact("last attempt took", took(f.DurationMS))
	}
	s.fact("finished", f.FinishedAt.UTC().Format(time.RFC3339))
	s.fact("requested by", f.RequestedBy)
	if f.Request != nil {
		s.Next = "How to ask for it again:"
		s.Commands = []string{"pgcourier replay " + f.RequestID + " --project " + f.ProjectID}
	}
	return s
}

func (s *Summary) fact(name, value string) {
	if value != "" {
		s.Facts = append(s.Facts, Fact{name, line(value)})
	}
}

// restore returns the commands that restore an export from the downloaded file EXPORT.
func restore(c events.Completed) []string {
	open := []string{}
	if c.Encryption == events.EncryptionAge {
		open = append(open, "age --decrypt --identity KEY_FILE")
	}
	switch c.Compression {
	case events.CompressionGzip:
		open = append(open, "gunzip")
	case events.CompressionZstd:
		open = append(open, "zstd --decompress --stdout")
	case events.CompressionNone:
	}
	// pg_restore reads the contents of an archive first, so the archive must be a file.
	last := "psql -X -v ON_ERROR_STOP=1 --single-transaction --file - EMPTY_DATABASE"
	if c.Format != events.FormatSQL {
		last = "pg_restore --exit-on-error --single-transaction --dbname EMPTY_DATABASE"
	}
	return []string{
		"echo '" + c.SHA256 + "  EXPORT' | sha256sum --check",
		strings.Join(append(open, last), " | ") + " < EXPORT",
	}
}

// line makes untrusted text one line of printable characters.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func took(milliseconds int64) string {
	return (time.Duration(milliseconds) * time.Millisecond).Round(10 * time.Millisecond).String()
}

package archive

import (
	"strings"
	"unicode"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	faultRestrict   fault = "\\restrict in a wrong place"
	faultUnrestrict fault = "\\unrestrict with another key or in a wrong place"
	faultAfterTrail fault = "text after the dump's end"
	faultNoTrailer  fault = "the dump's closing lines are missing"
)

// routineError names a routine with a BEGIN for which psql finds no END: psql treats the rest of
// the script as the body.
type routineError string

func (e routineError) Error() string {
	return "a routine whose BEGIN has no END for psql, which cannot read the script back"
}

// printable makes a name safe to show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// trailer is how much of the script's closing lines was met:
//
//	--
//	-- PostgreSQL database dump complete
//	--
//
//	\unrestrict KEY
//
// The last two only where the script began with \restrict KEY. The empty lines count: so
// each cut is noticed, even of the last byte.
type trailer uint8

const (
	trailerNone trailer = iota
	trailerRule
	trailerComplete
	trailerRule2
	trailerComment // the comment is whole
	trailerMeta
	trailerWhole // all is whole
)

// rootComment begins the comment that pg_dump writes before the data of a partition that it loads
// through its root. dataComment begins the comment before that, which names the partition.
const (
	rootComment = " load via partition root "
	dataComment = " Data for Name: "
)

// blockComment processes the start of a comment. A comment after the end of the dump is allowed
// too.
func (s *sqlStatement) blockComment() {
	if s.trail < trailerComment {
		s.trail = trailerNone
	}
}

// lineComment processes the text of a comment, without its dashes and its line break. pg_dump
// writes comments between statements only. A comment inside a routine's body means that psql has not
// found the end of that body.
func (s *sqlStatement) lineComment(text string, cut bool) error {
	if s.blocks > 0 && s.comment.atStart {
		return routineError(printable(string(s.name)))
	}
	if name, ok := strings.CutPrefix(text, dataComment); ok && !s.open() {
		s.comment.leaf, s.comment.root = leafOf(name), false
	}
	if strings.HasPrefix(text, rootComment) && !s.open() && s.comment.atStart {
		s.comment.root = s.comment.leaf != export.Table{} && !cut
	}
	if s.trail >= trailerComment {
		return nil
	}
	switch {
	case s.open() || !s.comment.atStart || cut:
		s.trail = trailerNone
	case text == "" && s.trail == trailerComplete:
		s.trail = trailerRule2
	case text == "":
		s.trail = trailerRule
	case text == " PostgreSQL database dump complete" && s.trail == trailerRule:
		s.trail = trailerComplete
	default:
		s.trail = trailerNone
	}
	return nil
}

// leafOf parses the table in "NAME; Type: TABLE DATA; Schema: SCHEMA; Owner: OWNER". pg_dump
// replaces line breaks in the names by spaces: a partition with such a name is the only kind of
// table with a name in Contents that differs from the server's.
func leafOf(text string) export.Table {
	const kind, owner = "; Type: TABLE DATA; Schema: ", "; Owner: "
	at, end := strings.LastIndex(text, kind), strings.LastIndex(text, owner)
	if at < 0 || end < at+len(kind) {
		return export.Table{}
	}
	return export.Table{Schema: text[at+len(kind) : end], Name: text[:at]}
}

// blankLine processes an empty line between or within statements.
func (s *sqlStatement) blankLine() {
	switch s.trail {
	case trailerRule2:
		s.trail = trailerComment
	case trailerMeta:
		s.trail = trailerWhole
	case trailerRule, trailerComplete:
		s.trail = trailerNone
	default:
	}
}

// metaCommand processes a psql command at the start of a line between statements, without its
// backslash.
func (s *sqlStatement) metaCommand(text string) error {
	name, key, _ := strings.Cut(text, " ")
	switch {
	case key == "" || strings.Trim(key, keyLetters) != "":
		return faultMeta
	case name == "restrict":
		if s.key != "" || s.anyText || s.trail >= trailerComment {
			return faultRestrict
		}
		s.key = key
	case name == "unrestrict":
		if s.key == "" || key != s.key || s.trail != trailerComment {
			return faultUnrestrict
		}
		s.trail = trailerMeta
	default:
		return faultMeta
	}
	return nil
}

// keyLetters are the characters that pg_dump uses and accepts in a key.
const keyLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// ended returns an error if the script may not end here.
func (s *sqlStatement) ended() error {
	if s.key == "" && s.trail == trailerComment || s.trail == trailerWhole {
		return nil
	}
	return faultNoTrailer
}

package storage_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/storage"
)

func TestAServersWordsAreMadeSafe(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"Unsupported header 'x-amz-checksum-crc32c' received for this API call.":                        "Unsupported header 'x-amz-checksum-crc32c' received for this API call.",
		"<html><head><title>413 Request\nEntity Too Large</title></head><body><h1>x</h1></body></html>": "413 Request Entity Too Large",
		"<b>bold</b>\x1b[2J words": "bold [2J words",
		"User: arn:aws:iam::123456789012:user/eve is not authorized to perform: s3:PutObject": "User: arn:*** is not authorized to perform: s3:PutObject",
		"The key AKIAIOSFODNN7EXAMPLE does not exist":                                         "The key *** does not exist",
		"signature=abc, token: def":                                                           "*** ***",
		"cannot write /var/lib/minio/data/x: no space":                                        "cannot write ***: no space",
		"got wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY instead":                                "got *** instead",
		"the word canary here":                                                                "the word *** here",
	} {
		if got := storage.Words(said, "canary", ""); got != want {
			t.Errorf("%q became %q, want %q", said, got, want)
		}
	}
	if got := storage.Words(strings.Repeat("é ", 500)); utf8.RuneCountInString(got) != 240 || !utf8.ValidString(got) {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}

func TestAnAnswersErrorHasItsTextAndItsAdvice(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	a := &storage.Answer{Kind: storage.ErrFull, What: "it is full", Said: "QuotaExceeded: over", Advice: "raise it", Err: cause}
	if !errors.Is(a, storage.ErrFull) || !errors.Is(a, cause) || a.Message() != "it is full: the server says: QuotaExceeded: over" ||
		a.Error() != "it is full: the server says: QuotaExceeded: over (raise it)" {
		t.Errorf("%v", a)
	}
}

func FuzzWords(f *testing.F) {
	f.Add("<title>x</title>", "x")
	f.Add("arn:aws:iam::1:user/x AKIA1234567 /a/b/c \x00\xff", "")
	f.Fuzz(func(t *testing.T, said, hidden string) {
		got := storage.Words(said, hidden)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 240 || strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Fatalf("%q", got)
		}
	})
}

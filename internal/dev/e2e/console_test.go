package e2e_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// console logs in with a token and reads pages of the console.
func (s *apiServer) console(t *testing.T, token string, paths ...string) (pages []string) {
	t.Helper()
	do := func(method, path, form string, cookie *http.Cookie) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/console/"+path, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if cookie != nil {
			r.AddCookie(cookie)
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(b)
	}
	res, text := do(http.MethodPost, "login", url.Values{"token": {token}}.Encode(), nil)
	if len(res.Cookies()) != 1 {
		t.Fatalf("login: %d %s", res.StatusCode, text)
	}
	for _, path := range paths {
		res, text := do(http.MethodGet, path, "", res.Cookies()[0])
		if res.StatusCode != http.StatusOK {
			t.Errorf("console page %q: %d %s", path, res.StatusCode, text)
		}
		pages = append(pages, text)
	}
	return pages
}

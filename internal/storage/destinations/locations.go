package destinations

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/pgcourier/pgcourier/internal/config"
)

// Location is one entry of a STORAGE list.
type Location struct {
	// URL is the entry without the parameter required.
	URL string
	// Name is the destination's name in events and in --from: its scheme, and a number from
	// the second of that scheme on, such as s3-2.
	Name string
	// Optional says that an export completes without a copy there.
	Optional bool
}

// Parse reads a STORAGE list. The first entry is the primary destination and required. A
// further one is optional unless its URL says required=true. Errors are a *config.Error.
func Parse(urls []string) (all []Location, err error) {
	seen, kinds := map[string]bool{}, map[string]int{}
	for i, raw := range urls {
		place, required, err := cutRequired(raw)
		switch {
		case err != nil:
			return nil, config.Errorf("PGCOURIER_STORAGE: destination %d: %w", i+1, err)
		case seen[place]:
			return nil, config.Errorf("PGCOURIER_STORAGE: destination %d is named twice", i+1)
		case i == 0 && required == "false":
			return nil, config.Errorf("PGCOURIER_STORAGE: the first destination is the primary one: it is always required")
		}
		seen[place] = true
		u, err := url.Parse(place)
		if err != nil { // cutRequired has parsed it
			return nil, err
		}
		kinds[u.Scheme]++
		name := u.Scheme
		if n := kinds[name]; n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		all = append(all, Location{place, name, i > 0 && required != "true"})
	}
	return all, nil
}

// Folder returns the folder of a file destination. ok is false for any other.
func (l Location) Folder() (folder string, ok bool) {
	u, err := url.Parse(l.URL)
	if err != nil || u.Scheme != "file" || u.Path == "" {
		return "", false
	}
	return u.Path, true
}

// cutRequired takes the parameter required out of a destination's URL.
func cutRequired(raw string) (place, required string, err error) {
	u, err := url.Parse(raw)
	if err != nil { // which may repeat a key or a token
		return "", "", errors.New("not a URL such as file:///var/lib/exports")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", "", errors.New("the URL's parameters cannot be parsed")
	}
	if !query.Has("required") {
		return raw, "", nil
	}
	required = query.Get("required")
	if len(query["required"]) != 1 || required != "true" && required != "false" {
		return "", "", errors.New("required is neither true nor false")
	}
	query.Del("required")
	u.RawQuery = query.Encode()
	return u.String(), required, nil
}

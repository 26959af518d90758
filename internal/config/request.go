package config

import "strings"

// SplitRequest returns the id of a request that is named on a command line, and sets its project if
// both are given as PROJECT/ID, as outcomes show them. Neither has a slash in it. A project that
// contradicts one that is set already is an *Error.
func SplitRequest(arg string, project *string) (string, error) {
	of, id, both := strings.Cut(arg, "/")
	switch {
	case !both:
		return arg, nil
	case *project != "" && *project != of:
		return "", Errorf("%q names another project than --project %s", arg, *project)
	}
	*project = of
	return id, nil
}

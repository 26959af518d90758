package sandbox

import "os"

// Remedy says what lets a sandbox be made in this place, after ErrUnavailable.
func Remedy() string {
	return remedy(func(path string) bool { _, err := os.Stat(path); return err == nil }, os.Getenv)
}

func remedy(there func(path string) bool, getenv func(string) string) string {
	switch {
	case getenv("KUBERNETES_SERVICE_HOST") != "":
		return "give this container the seccompProfile Unconfined and procMount: Unmasked: see docs/hostile-source.md"
	case there("/.dockerenv"), there("/run/.containerenv"), getenv("container") != "":
		return "run this container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined: see docs/hostile-source.md"
	}
	return "let this user make namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone): see docs/hostile-source.md"
}

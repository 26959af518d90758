// Package export is the use case, readable top to bottom: claim a request, look up its
// project, dump it, seal the stream, store it, commit the outcome. It owns the types, the
// errors and the small interfaces that the adapters implement, and depends on no technology.
package export

package export

// Key gives the package's tests the names of objects.
func Key(e *Exporter, req Request, attempt int) string {
	req.encrypted = len(e.Recipients) > 0
	return e.key(req, attempt)
}

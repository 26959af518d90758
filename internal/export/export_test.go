package export

// Key opens the naming of objects to the package's tests.
func Key(e *Exporter, req Request, attempt int) string {
	req.encrypted = len(e.Recipients) > 0
	return e.key(req, attempt)
}

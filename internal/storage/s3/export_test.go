package s3

// NewSmall is New without the bound on the size of parts, so that tests can use small ones.
func NewSmall(c Config) (*Driver, error) { return build(c.withDefaults()) }

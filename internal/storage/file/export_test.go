package file

// Wrap is wrap, for the tests.
var Wrap = wrap

package freeport

// Below is Get where the kernel's own range begins at end.
var Below = below

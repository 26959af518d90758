package freeport

// Below is Get where the kernel's own range begins at end.
var Below = below

// Reserve notes that a port is given away; false: it is already.
var Reserve = reserve

package freeport

// Below is Get where the kernel's own range begins at end.
var Below = below

// Reserve records that a port is given away; false: it was already.
var Reserve = reserve

// Package doctor runs checks side by side and judges what they measured.
//
// A [Check] is a name and a function that reports what it found; [Run] bounds each one, so
// that a server that hangs costs its own check its time and no other's. What needs no
// technology to be judged is here too: how far a clock may be off ([Skew]), how much room a
// disk must have ([Room]), how long a certificate must still be good ([Certificate]), and who
// may read a file ([Private]). It knows none of the things that are checked.
package doctor

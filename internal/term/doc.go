// Package term writes what commands print: tables, named values, progress, events and JSON.
//
// A [Screen] says how wide the output is and whether it takes colours. [Table] and
// [Screen.Pairs] lay text out on it; on a pipe nothing is cut and nothing is coloured.
// [Progress] draws lines that change, on a terminal only. [Events] shows the events of running
// exports. [WriteJSON] is the machine-readable form.
//
// Text that came from outside passes through [Sanitize], in tables and pairs by itself: a
// project's name must not move the cursor or write a line of its own.
package term

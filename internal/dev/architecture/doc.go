// Package architecture has tests only: the direction of dependencies with the reason beside each
// edge, and what stands at the top level.
package architecture

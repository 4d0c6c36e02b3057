// Package paper sets articles' sheets in C memory where cgo is on, in Go otherwise. A sheet is kept for each
// format, to be filled again.
package paper

// Formats is the number of formats, and so of sheets at most.
const Formats = 1000

// SheetBytes is the size of a sheet.
const SheetBytes = 64 << 10

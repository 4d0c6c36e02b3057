// Package archive is the shop's orders of past years: an SQLite file where cgo is on, nothing otherwise.
package archive

import "errors"

// ErrNone means that there is no archive, since there is no SQLite.
var ErrNone = errors.New("archive: this shop was built without cgo")

const (
	orderCount = 1024 // all are read by a search
	noteBytes  = 200
)

// SearchBytes is what a search that is not ended keeps, measured: the connection of its own, with every
// page it has read.
const SearchBytes = 300 << 10

//go:build !cgo

package paper

import "errors"

// Native tells that sheets lie in C memory.
const Native = false

// Pool keeps no sheet without C.
type Pool struct{}

// Set returns an error: there is no C.
func (p *Pool) Set(int, byte) (uint32, error) {
	return 0, errors.New("paper: this shop was built without cgo")
}

// Close does nothing.
func (p *Pool) Close() {}

//go:build !cgo

package receipt

import (
	"bytes"
	"fmt"
)

// Native tells that receipts are laid out by C code.
const Native = false

// Print returns the receipt as text.
func Print(o Order) ([]byte, error) {
	if o.voucherExpired() {
		return nil, ErrVoucher
	}
	text := bytes.Repeat([]byte{'.'}, Lines(o.Number)*Columns)
	for end := Columns - 1; end < len(text); end += Columns {
		text[end] = '\n'
	}
	copy(text, fmt.Sprintf("Order %d: %d.%02d", o.Number, o.Cents/100, o.Cents%100))
	return text, nil
}

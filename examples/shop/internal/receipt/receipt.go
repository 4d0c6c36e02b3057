// Package receipt lays out printable receipts: by a C layout routine where cgo is on, in Go otherwise.
package receipt

import "errors"

// ErrVoucher means that the order's voucher is not valid any more.
var ErrVoucher = errors.New("receipt: voucher has expired")

// Columns is the width of a printed line in bytes, its newline included.
const Columns = 64

// Line limits of one receipt: 4 KiB to 64 KiB of text with the totals below the lines.
const (
	minLines = 64
	maxLines = 1000
)

// Order is what a receipt is printed from.
type Order struct {
	Number  int
	Cents   int
	Voucher string
}

// Lines is how many lines the receipt of order number has: articles, taxes, terms.
func Lines(number int) int {
	return minLines + int(uint(number)*7919%(maxLines-minLines))
}

// MeanBytes is the size of a receipt averaged over many order numbers.
const MeanBytes = (minLines + maxLines) / 2 * Columns

func (o Order) voucherExpired() bool { return o.Voucher == "EXPIRED" }

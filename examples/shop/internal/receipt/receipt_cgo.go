//go:build cgo

package receipt

/*
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	int expired;
	size_t length;
	char text[];
} receipt_page;

// Fills a page with `lines` lines of `columns` bytes. NULL if there is no memory.
static receipt_page *receipt_layout(int number, int cents, int lines, int columns, int expired) {
	size_t length = (size_t)lines * columns;
	receipt_page *page = malloc(sizeof *page + length + 1);
	if (page == NULL)
		return NULL;
	page->expired = expired;
	page->length = length;
	memset(page->text, '.', length);
	for (int line = 0; line < lines; line++)
		page->text[(size_t)(line + 1) * columns - 1] = '\n';
	int header = snprintf(page->text, columns, "Order %d: %d.%02d", number, cents / 100, cents % 100);
	page->text[header] = '.';
	return page;
}

static char *receipt_text(receipt_page *page) {
	return page->text;
}

static void receipt_discard(receipt_page *page) {
	free(page);
}
*/
import "C"

import (
	"errors"
	"unsafe"
)

// Native tells that receipts are laid out by C code.
const Native = true

// Print returns the receipt as text.
func Print(o Order) ([]byte, error) {
	expired := C.int(0)
	if o.voucherExpired() {
		expired = 1
	}
	page := C.receipt_layout(C.int(o.Number), C.int(o.Cents), C.int(Lines(o.Number)), Columns, expired) // culprit: cgo
	if page == nil {
		return nil, errors.New("receipt: out of memory")
	}
	if page.expired != 0 {
		return nil, ErrVoucher
	}
	text := C.GoBytes(unsafe.Pointer(C.receipt_text(page)), C.int(page.length))
	C.receipt_discard(page)
	return text, nil
}

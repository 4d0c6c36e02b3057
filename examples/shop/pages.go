package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"html/template"

	"example.com/shop/internal/catalog"
)

var productTemplate = template.Must(template.New("product").Parse(`<!doctype html>
<title>{{.Name}}</title>
<h1>{{.Name}}</h1>
<p class="category">{{.Category}}</p>
<p class="price">{{.Cents}} cents, {{.Stock}} in stock</p>
<p>{{.Description}}</p>
<form method="post" action="/cart?id={{.ID}}"><button>Add to cart</button></form>
<ul>{{range .Reviews}}<li>{{.Stars}} of 5, {{.By}}: {{.Text}}</li>
{{end}}</ul>
`))

var frontTemplate = template.Must(template.New("front").Parse(`<!doctype html>
<title>The shop</title>
<h1>The shop</h1>
<ul>{{range .}}<li><a href="/product/{{.ID}}">{{.Name}}</a> {{.Cents}}</li>
{{end}}</ul>
`))

const (
	// pageBytes holds a product page with its picture, so that rendering does not regrow the buffer.
	pageBytes = 104 << 10

	thumbWidth  = 160
	thumbHeight = 150
	photoScale  = 3 // how many times larger photographs are than thumbnails, each way
	photoStride = thumbWidth * photoScale * 3

	bestsellerCount = 12
)

// renderProduct returns a product's page with its picture inside, so that it needs no second request.
func (s *Shop) renderProduct(p *catalog.Product) ([]byte, error) {
	page := bytes.NewBuffer(make([]byte, 0, pageBytes))
	if err := productTemplate.Execute(page, p); err != nil {
		return nil, err
	}
	page.WriteString(`<img alt="" src="data:image/bmp;base64,`)
	body := base64.StdEncoding.AppendEncode(page.Bytes(), s.thumbnail(p))
	return append(body, `">`...), nil
}

// thumbnail returns a product's small picture as a BMP file: 54 bytes of header, then rows from the
// bottom up, three bytes a pixel.
func (s *Shop) thumbnail(p *catalog.Product) []byte {
	const (
		header = 54
		stride = thumbWidth * 3 // a multiple of 4, as the format wants
	)
	picture := make([]byte, header+stride*thumbHeight)
	copy(picture, "BM")
	binary.LittleEndian.PutUint32(picture[2:], uint32(len(picture)))
	binary.LittleEndian.PutUint32(picture[10:], header)
	binary.LittleEndian.PutUint32(picture[14:], 40)
	binary.LittleEndian.PutUint32(picture[18:], thumbWidth)
	binary.LittleEndian.PutUint32(picture[22:], thumbHeight)
	binary.LittleEndian.PutUint16(picture[26:], 1)
	binary.LittleEndian.PutUint16(picture[28:], 24)
	photo, ok := s.bestsellers[p.ID]
	if !ok {
		photo = photograph(p)
	}
	for y := range thumbHeight {
		row := picture[header+y*stride : header+(y+1)*stride]
		full := photo[y*photoScale*photoStride:]
		for x := 0; x < stride; x += 3 {
			copy(row[x:x+3], full[x*photoScale:])
		}
	}
	return picture
}

// photograph returns a product's picture in full size: rows of pixels, three bytes each.
func photograph(p *catalog.Product) []byte {
	photo := make([]byte, photoStride*thumbHeight*photoScale)
	for x := range photoStride {
		photo[x] = byte(x*p.ID + x*x/thumbWidth)
	}
	for filled := photoStride; filled < len(photo); filled *= 2 {
		copy(photo[filled:], photo[:filled])
	}
	return photo
}

// bestsellerPhotos returns the photographs, by product, that are asked for most.
func bestsellerPhotos(products []*catalog.Product) map[int][]byte {
	photos := make(map[int][]byte, len(products))
	for _, p := range products {
		photos[p.ID] = photograph(p)
	}
	return photos
}

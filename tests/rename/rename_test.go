package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const shop = "../../examples/shop"

// gone is what no copy of the shop may say any more, in a source or in the binary. "Quote" and "Product"
// alone are not in the list: the standard library has them too.
var gone = []string{
	"SessionCache", "NewSessionCache", "PageCache", "QuoteDesk", "OpenFeed", "NewScenarios", "renderProduct",
	"photograph", "orderDocument", "bestsellers", "fetchSheet", "historyLength", "voucherExpired", "MeanBytes",
	"receipt_layout", "receipt_discard", "sheet_fill",
	"PriceWatch", "InStock", "StockCounter", "Reservations", "Leaflets", "labelPrinter", "SavedSearches", "OrderHistory",
	"yearlyReport", "sortOrderLines", "couponSales", "indexPictures", "lookAlikes", "SearchBytes", "SheetBytes",
	"shop_http_requests_total", "shop_http_request_duration_seconds", "shop_sessions_active", "shop_carts_open",
	"session_cache.go", "page_cache.go", "quote.go", "checkout.go", "scenarios.go", "receipt_cgo.go", "shoppers.go",
	"price_watch.go", "saved_search.go", "archive_cgo.go", "paper_plain.go", "table.go", "truth.go",
	"example.com/shop", "/product/", "/thumb/", "/leaflet/", "/enlarged/", "/available/",
}

func TestCopiesOfTheShop(t *testing.T) {
	mappings := make(map[string]uint64)
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "copy")
			names, err := copyRenamed(seed, shop, out)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := mappings[names.Module+names.Go["SessionCache"]]; ok {
				t.Errorf("seeds %d and %d give the same names", other, seed)
			}
			mappings[names.Module+names.Go["SessionCache"]] = seed
			noneLeft(t, out)
			marksStand(t, out, names)

			binary := filepath.Join(t.TempDir(), "service")
			command(t, out, "1", "go", "vet", "./...")
			command(t, out, "1", "go", "build", "-o", binary, ".")
			notIn(t, binary)
			if seed == 1 {
				command(t, out, "0", "go", "vet", "./...")
				works(t, binary, names)
				listsItsNames(t, binary, names)
			}
		})
	}
}

func command(t *testing.T, dir, cgo, name string, arguments ...string) {
	t.Helper()
	c := exec.Command(name, arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOWORK=off")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, arguments, err, text)
	}
}

func sources(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		relative, _ := filepath.Rel(dir, path)
		all[relative] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func noneLeft(t *testing.T, out string) {
	t.Helper()
	for path, text := range sources(t, out) {
		for _, name := range gone {
			if says([]byte(text), name) || strings.HasSuffix("/"+path, "/"+name) {
				t.Errorf("%s still says %s", path, name)
			}
		}
	}
}

// says tells whether text has name as a word.
func says(text []byte, name string) bool {
	letter := func(b byte) bool { return b == '_' || token.IsIdentifier("x"+string(rune(b))) && b < 0x80 }
	for at := 0; ; {
		next := bytes.Index(text[at:], []byte(name))
		if next < 0 {
			return false
		}
		begin, end := at+next, at+next+len(name)
		if (begin == 0 || !letter(text[begin-1])) && (end == len(text) || !letter(text[end]) || name[len(name)-1] == '/') {
			return true
		}
		at = end
	}
}

func notIn(t *testing.T, binary string) {
	t.Helper()
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range gone {
		if strings.HasSuffix(name, ".go") {
			continue
		}
		// The linker packs strings without anything between, so what can be no other word counts anywhere.
		if says(text, name) || strings.ContainsAny(name, "_/") && bytes.Contains(text, []byte(name)) {
			t.Errorf("the binary still says %s", name)
		}
	}
}

// marksStand checks that each culprit is marked in the copy where it is in the original.
func marksStand(t *testing.T, out string, names *Names) {
	t.Helper()
	mark := regexp.MustCompile(`// culprit: (\S+)`)
	where := func(dir string, rename func(string) string) map[string]string {
		found := make(map[string]string)
		for path, text := range sources(t, dir) {
			if strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".go") {
				continue
			}
			for i, line := range strings.Split(text, "\n") {
				if match := mark.FindStringSubmatch(line); match != nil {
					found[match[1]] = fmt.Sprintf("%s:%d", rename(filepath.Base(path)), i+1)
				}
			}
		}
		return found
	}
	original := where(shop, func(file string) string { return names.Files[file] })
	copied := where(out, func(file string) string { return file })
	if len(original) == 0 || !reflect.DeepEqual(original, copied) {
		t.Errorf("marks at %v, want %v", copied, original)
	}
}

// works starts a copy, and has its own shoppers ask for pages under the new paths.
func works(t *testing.T, binary string, names *Names) {
	t.Helper()
	process := exec.Command(binary, "-listen", "127.0.0.1:0", "-load", "200", "-scenario", "session-cache=600")
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		if err := process.Wait(); err != nil {
			t.Error("ended with", err)
		}
	}()
	line, _ := bufio.NewReader(output).ReadString('\n')
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "READY ")
	if !ok {
		t.Fatalf("no READY line but %q", line)
	}
	time.Sleep(time.Second)
	text := get(t, base+"/metrics")
	requests := names.Metrics["shop_http_requests_total"]
	if !bytes.Contains(text, []byte(requests+"{")) || !bytes.Contains(text, []byte(`="200"`)) {
		t.Errorf("no requests counted as %s", requests)
	}
	if bytes.Contains(text, []byte(`="404"`)) {
		t.Error("shoppers ask for a path that has another name")
	}
	put := fmt.Sprintf("main.(*%s).%s", names.Go["SessionCache"], names.Go["Put"])
	if !bytes.Contains(get(t, base+"/debug/pprof/heap?debug=1&gc=1"), []byte(put)) {
		t.Errorf("no %s in the heap profile", put)
	}
	get(t, base+"/admin/scenario")
	get(t, base+"/debug/vars")
}

// listsItsNames checks that a copy tells its culprits by the copy's names.
func listsItsNames(t *testing.T, binary string, names *Names) {
	t.Helper()
	text, err := exec.Command(binary, "-list=json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct{ Name, Function, File string }
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("main.(*%s).%s", names.Go["SessionCache"], names.Go["Put"])
	for _, row := range rows {
		if row.Name == "session-cache" && (row.Function != want || row.File != names.Files["session_cache.go"]) {
			t.Errorf("session-cache is listed at %s, %s", row.Function, row.File)
		}
	}
	if len(rows) < 20 {
		t.Errorf("%d scenarios are listed", len(rows))
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return text
}

func TestSameSeedSameCopy(t *testing.T) {
	copies := make([]map[string]string, 2)
	for i := range copies {
		out := t.TempDir()
		if _, err := copyRenamed(7, shop, out); err != nil {
			t.Fatal(err)
		}
		copies[i] = sources(t, out)
	}
	if !reflect.DeepEqual(copies[0], copies[1]) {
		t.Error("two copies of one seed differ")
	}
}

func TestRefusals(t *testing.T) {
	for name, folders := range map[string][2]string{
		"copy over the module": {shop, shop},
		"no module":            {t.TempDir(), filepath.Join(t.TempDir(), "copy")},
	} {
		if _, err := copyRenamed(1, folders[0], folders[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPaths(t *testing.T) {
	w := &writer{names: &Names{Paths: map[string]string{"cart": "mast", "item": "oak"}}}
	for _, row := range []struct{ name, literal, want string }{
		{"route", `"POST /cart"`, `"POST /mast"`},
		{"wildcard", `"GET /item/{id}"`, `"GET /oak/{id}"`},
		{"query stays", `"/cart?item=%d"`, `"/mast?item=%d"`},
		{"in a template", "`<a href=\"/item/{{.ID}}\">`", "`<a href=\"/oak/{{.ID}}\">`"},
		{"front page", `"GET /{$}"`, `"GET /{$}"`},
		{"for tools", `"/admin/cart"`, `"/admin/cart"`},
		{"no path", `"text/cart"`, `"text/cart"`},
		{"part of a word", `"/carts"`, `"/carts"`},
	} {
		if got := w.paths(row.literal); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestWordsAreIdentifiers(t *testing.T) {
	for _, word := range append(append([]string{}, nouns...), verbs...) {
		if !token.IsIdentifier(word) || strings.ToLower(word) != word {
			t.Errorf("%q", word)
		}
	}
}

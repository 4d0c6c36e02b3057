package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/shop/internal/receipt"
	"example.com/shop/internal/traffic"
)

// open runs a shop for the length of the test and returns its URL.
func open(t *testing.T, args ...string) string {
	t.Helper()
	o, err := parseOptions(append([]string{"-listen", "127.0.0.1:0"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	base := make(chan string, 1)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o, func(url string) { base <- url }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error("shop ended with", err)
		}
	})
	select {
	case url := <-base:
		return url
	case err := <-ended:
		ended <- err
		t.Fatal("shop did not open:", err)
		return ""
	}
}

func ask(t *testing.T, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func turn(t *testing.T, base, query string) {
	t.Helper()
	if status, body := ask(t, "POST", base+"/admin/scenario?"+query); status != http.StatusOK {
		t.Fatalf("%s: %d %s", query, status, body)
	}
}

// metric returns the value of a series without labels.
func metric(t *testing.T, base, name string) float64 {
	t.Helper()
	_, body := ask(t, "GET", base+"/metrics")
	return number(t, body, `(?m)^`+name+` (\S+)$`)
}

// resident returns RssAnon or RssFile of this process in MiB.
func resident(t *testing.T, field string) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("needs /proc:", err)
	}
	return number(t, string(status), field+`:\s+(\d+) kB`) / 1024
}

func number(t *testing.T, text, pattern string) float64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s", pattern)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// within waits until what holds, and fails the test if it does not in ten seconds.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Error("not in time:", what)
}

// asking counts the goroutines that have the supplier's answer and nobody to give it to.
func asking(t *testing.T, base string) int {
	t.Helper()
	_, body := ask(t, "GET", base+"/debug/pprof/goroutine?debug=2")
	return len(regexp.MustCompile(`\[chan send[^\n]*\n[^\n]*QuoteDesk\)\.ask`).FindAllString(body, -1))
}

func TestSessionCacheGrowsByTheRate(t *testing.T) {
	base := open(t)
	before := metric(t, base, "shop_sessions_active")
	turn(t, base, "name=session-cache&rate=600") // 320 sessions of 32 KiB a second
	time.Sleep(time.Second)
	turn(t, base, "name=session-cache&off=1")
	grown := metric(t, base, "shop_sessions_active") - before
	if grown < 100 || grown > 400 {
		t.Errorf("%v sessions in a second, want about 320", grown)
	}
}

func TestQuotesNobodyWaitsForStayBlocked(t *testing.T) {
	base := open(t)
	before := asking(t, base)
	turn(t, base, "name=goroutine&rate=2400") // 40 a second
	time.Sleep(time.Second)
	turn(t, base, "name=goroutine&off=1")
	time.Sleep(supplierTime + 100*time.Millisecond)
	stuck := asking(t, base) - before
	if stuck < 15 || stuck > 50 {
		t.Errorf("%d goroutines stuck after a second, want about 40", stuck)
	}
	if ask(t, "GET", base+"/quote/1"); asking(t, base)-before != stuck {
		t.Error("a quote for an article in stock left a goroutine behind")
	}
}

func TestReceiptsOfExpiredVouchersKeepTheirPage(t *testing.T) {
	if !receipt.Native {
		t.Skip("built without cgo")
	}
	base := open(t)
	before := resident(t, "RssAnon")
	turn(t, base, "name=cgo&rate=1800") // 30 MiB a second
	time.Sleep(time.Second)
	turn(t, base, "name=cgo&off=1")
	if grown := resident(t, "RssAnon") - before; grown < 12 {
		t.Errorf("%.1f MiB more in a second, want about 30", grown)
	}
}

func TestPageCacheFillsAndStops(t *testing.T) {
	base := open(t, "-page-cache", "8", "-scenario", "bounded-cache=200")
	const limit, page = 8 << 20, pageBytes
	within(t, "a full cache", func() bool { return metric(t, base, "shop_page_cache_bytes") > limit-page })
	time.Sleep(300 * time.Millisecond)
	if size := metric(t, base, "shop_page_cache_bytes"); size > limit || size <= limit-page {
		t.Errorf("%v bytes, want at most %d and no page less", size, limit)
	}
}

func TestWaveRisesAndFalls(t *testing.T) {
	base := open(t, "-wave-period", "4s")
	inFlight := func() float64 { return metric(t, base, "shop_http_requests_in_flight") }
	turn(t, base, "name=traffic-wave&rate=20")
	within(t, "a crest", func() bool { return inFlight() >= 8 })
	turn(t, base, "name=traffic-wave&off=1")
	within(t, "calm", func() bool { return inFlight() == 0 })
}

func TestFeedTakesFilePagesOnlyAndIsRemoved(t *testing.T) {
	dir := t.TempDir()
	base := open(t, "-feed", "64", "-feed-dir", dir)
	before := resident(t, "RssFile") + resident(t, "RssShmem") // a temporary folder may lie in memory
	turn(t, base, "name=big-file&rate=6000")
	within(t, "48 MiB of file pages", func() bool {
		return resident(t, "RssFile")+resident(t, "RssShmem") > before+48
	})
	turn(t, base, "name=big-file&off=1")
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

func TestOrdinaryLoadKeepsSessionsAndGoroutines(t *testing.T) {
	base := open(t, "-load", "200")
	stuckBefore := asking(t, base) // another test may have left some: the process is the same
	time.Sleep(time.Second)
	sessions := metric(t, base, "shop_sessions_active")
	time.Sleep(time.Second)
	if now := metric(t, base, "shop_sessions_active"); now != sessions || now == 0 {
		t.Errorf("%v sessions, then %v: shoppers have lost their cookies", sessions, now)
	}
	if orders := metric(t, base, "shop_orders_total"); orders == 0 {
		t.Error("nobody bought anything")
	}
	if stuck := asking(t, base) - stuckBefore; stuck > 0 {
		t.Errorf("%d goroutines stuck", stuck)
	}
}

func TestScenarioAnswers(t *testing.T) {
	base := open(t)
	cgo := http.StatusOK
	if !receipt.Native {
		cgo = http.StatusNotImplemented
	}
	for _, row := range []struct {
		name, method, query string
		status              int
	}{
		{"list", "GET", "", 200},
		{"usual rate", "POST", "name=bounded-cache", 200},
		{"new rate", "POST", "name=bounded-cache&rate=1.5", 200},
		{"off", "POST", "name=bounded-cache&off=1", 200},
		{"off again", "POST", "name=bounded-cache&off=1", 200},
		{"needs cgo", "POST", "name=cgo&rate=0.01", cgo},
		{"unknown", "POST", "name=nosuch", 404},
		{"unknown off", "POST", "name=nosuch&off=1", 404},
		{"no name", "POST", "", 404},
		{"negative rate", "POST", "name=goroutine&rate=-1", 400},
		{"no number", "POST", "name=goroutine&rate=fast", 400},
		{"endless rate", "POST", "name=goroutine&rate=inf", 400},
		{"not a rate", "POST", "name=goroutine&rate=nan", 400},
		{"other method", "DELETE", "name=goroutine", 405},
	} {
		if status, body := ask(t, row.method, base+"/admin/scenario?"+row.query); status != row.status {
			t.Errorf("%s: %d, want %d: %s", row.name, status, row.status, body)
		}
	}
}

func TestPagesAnswer(t *testing.T) {
	base := open(t)
	needsCgo := http.StatusOK
	if !receipt.Native {
		needsCgo = http.StatusNotImplemented
	}
	for path, status := range map[string]int{
		"/": 200, "/?page=7": 200, "/?page=-1": 200, "/product/1": 200, "/product/1000": 404, "/product/x": 404,
		"/search?q=lamp": 200, "/search?q=nosuch": 200, "/thumb/0": 200, "/receipt/3": 200, "/receipt/x": 404,
		"/quote/1": 200, "/shelf/1": 200, "/available/x": 404, "/saved?q=lamp": 200, "/picture/1": 200, "/past/x": 404,
		"/sheet/1": needsCgo, "/past/3": needsCgo, "/metrics": 200, "/debug/vars": 200, "/debug/pprof/": 200,
		"/debug/pprof/heap": 200, "/nosuch": 404,
	} {
		if got, _ := ask(t, "GET", base+path); got != status {
			t.Errorf("%s: %d, want %d", path, got, status)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, row := range []struct {
		name string
		args string
		ok   bool
	}{
		{"none", "", true},
		{"scenarios", "-scenario goroutine -scenario big-file=10", true},
		{"cgo", "-scenario cgo", receipt.Native},
		{"unknown scenario", "-scenario nosuch", false},
		{"bad rate", "-scenario goroutine=0", false},
		{"list", "-list", true},
		{"list for programs", "-list=json", true},
		{"list as it cannot be", "-list=xml", false},
		{"day", "-day 3s", true},
		{"no day", "-day 0s", false},
		{"bad load", "-load -1", false},
		{"no cache", "-page-cache 0", false},
		{"an argument", "serve", false},
	} {
		args := strings.Fields(row.args)
		if _, err := parseOptions(args); (err == nil) != row.ok || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// The end-to-end test reads where each leak is from these marks.
func TestEachLeakIsMarkedOnceInItsFunction(t *testing.T) {
	type place struct{ file, function string }
	marks := map[string][]place{}
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		function := ""
		for _, line := range strings.Split(string(text), "\n") {
			if found := regexp.MustCompile(`^func (?:\(\w+ \*(\w+)\) )?(\w+)`).FindStringSubmatch(line); found != nil {
				function = found[2]
				if found[1] != "" {
					function = fmt.Sprintf("(*%s).%s", found[1], found[2])
				}
			}
			if _, name, ok := strings.Cut(line, "// culprit: "); ok {
				marks[name] = append(marks[name], place{filepath.Base(path), function})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range NewScenarios(Settings{}).listed() {
		// The file of the other setting of cgo has no mark.
		if row.Verdict != "leak" || row.NeedsCgo && !receipt.Native {
			delete(marks, row.Name)
			continue
		}
		places := marks[row.Name]
		if len(places) != 1 || places[0].file != row.File || !strings.HasSuffix(row.Function, "."+places[0].function) {
			t.Errorf("%s: marked at %v, listed at %s, %s", row.Name, places, row.Function, row.File)
		}
		delete(marks, row.Name)
	}
	if len(marks) > 0 {
		t.Error("marks of no leak:", marks)
	}
}

func TestListSaysWhatIsTrue(t *testing.T) {
	kinds := strings.Fields("go-heap goroutine native-heap native-mmap native thread fd shmem kernel")
	others := strings.Fields("steady warm-up plateau load season gc-sawtooth gc-idle not-returned fragmentation page-cache step spike")
	rows := NewScenarios(Settings{}).listed()
	for _, row := range rows {
		known := others
		if row.Verdict == "leak" {
			known = kinds
		}
		for _, kind := range append([]string{row.Kind}, row.Also...) {
			if !slices.Contains(known, kind) {
				t.Errorf("%s: %s is no kind of a %s", row.Name, kind, row.Verdict)
			}
		}
		if leaks := row.Verdict == "leak"; row.Usual <= 0 || row.Unit == "" || leaks != (row.Function != "") || leaks != (row.Shows != "") {
			t.Errorf("%s: %+v", row.Name, row)
		}
	}
	var text, document bytes.Buffer
	if err := errors.Join(writeList(&text, rows, false), writeList(&document, rows, true)); err != nil {
		t.Fatal(err)
	}
	var read []listedScenario
	if err := json.Unmarshal(document.Bytes(), &read); err != nil || len(read) != len(rows) {
		t.Errorf("%d rows of %d, %v", len(read), len(rows), err)
	}
	if lines := strings.Count(text.String(), "\n"); lines != len(rows)+1 {
		t.Errorf("%d lines for %d rows", lines, len(rows))
	}
}

func TestTrafficMakesUpForAStall(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	visits := 0
	traffic.Run(ctx, 1, traffic.Steady(100), func(context.Context, int) {
		if visits == 0 {
			time.Sleep(500 * time.Millisecond)
		}
		visits++
	})
	if visits < 85 || visits > 100 {
		t.Errorf("%d visits in a second at 100 a second", visits)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"reflect"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Where a culprit shows.
const (
	inStacks   = "stacks"   // of the heap or goroutine profile, or of the goroutines themselves
	inMappings = "mappings" // only which kind of memory grows: C memory and mappings have no profile
)

// truth is what a watcher should say of a scenario.
type truth struct {
	leaks   bool
	kinds   []string // in the words of verdicts: the first is the one to say, the others are right beside it
	culprit any      // the function to blame; nil where nobody is
	shows   string   // where it does
}

func leak(culprit any, shows string, kinds ...string) truth {
	return truth{leaks: true, kinds: kinds, culprit: culprit, shows: shows}
}

func noLeak(kinds ...string) truth { return truth{kinds: kinds} }

// listedScenario is a row of -list. The line to blame is marked as such in the file: tests read it there.
type listedScenario struct {
	Name     string   `json:"name"`
	Usual    float64  `json:"usual"`
	Unit     string   `json:"unit"`
	Verdict  string   `json:"verdict"`
	Kind     string   `json:"kind"`
	Also     []string `json:"also,omitempty"`
	Function string   `json:"function,omitempty"`
	File     string   `json:"file,omitempty"`
	Shows    string   `json:"shows,omitempty"`
	NeedsCgo bool     `json:"needs_cgo,omitempty"`
}

// listed returns all scenarios by name, with the functions called as profiles call them.
func (s *Scenarios) listed() []listedScenario {
	var rows []listedScenario
	for _, name := range s.names() {
		one := s.known[name]
		row := listedScenario{
			Name: name, Usual: one.usual, Unit: one.unit, Verdict: "no-leak",
			Kind: one.truth.kinds[0], Also: one.truth.kinds[1:], Shows: one.truth.shows, NeedsCgo: one.needsCgo,
		}
		if one.truth.leaks {
			row.Verdict = "leak"
			// By the program's own tables, so that a copy with other names tells those.
			function := runtime.FuncForPC(reflect.ValueOf(one.truth.culprit).Pointer())
			file, _ := function.FileLine(function.Entry())
			row.Function, row.File = function.Name(), path.Base(file)
		}
		rows = append(rows, row)
	}
	return rows
}

// writeList writes the scenarios, as JSON or as a table.
func writeList(to io.Writer, rows []listedScenario, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		return encoder.Encode(rows)
	}
	columns := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "NAME\tUSUAL RATE\tVERDICT\tKIND\tALSO\tCULPRIT\tSHOWS IN")
	for _, row := range rows {
		fmt.Fprintf(columns, "%s\t%g %s\t%s\t%s\t%s\t%s\t%s\n", row.Name, row.Usual, row.Unit, row.Verdict, row.Kind,
			dash(strings.Join(row.Also, ", ")), dash(strings.TrimSpace(row.Function+" "+row.File)), dash(row.Shows))
	}
	return columns.Flush()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

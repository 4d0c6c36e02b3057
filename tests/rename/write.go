package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// edit replaces the bytes from start to end of a file.
type edit struct {
	start, end int
	text       string
}

type writer struct {
	module *Module
	names  *Names
	edits  map[string]map[edit]bool // by file; a file may be in both settings of cgo
}

func write(m *Module, names *Names, out string) error {
	w := &writer{module: m, names: names, edits: make(map[string]map[edit]bool)}
	for _, p := range m.packages {
		for _, file := range p.files {
			w.file(p, file)
		}
	}
	return filepath.WalkDir(m.dir, func(from string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if from != m.dir && strings.HasPrefix(name, ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() || !entry.Type().IsRegular() || strings.HasSuffix(name, "_test.go") || name == "README.md" {
			return nil
		}
		relative, err := filepath.Rel(m.dir, from)
		if err != nil {
			return err
		}
		return w.copy(from, filepath.Join(out, w.folder(filepath.Dir(relative)), name))
	})
}

func (w *writer) copy(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	edits, isSource := w.edits[from]
	switch {
	case filepath.Base(from) == "go.mod":
		text = []byte(strings.Replace(string(text), "module "+w.module.path, "module "+w.names.Module, 1))
	case isSource:
		to = filepath.Join(filepath.Dir(to), w.names.Files[filepath.Base(from)])
		if text, err = format.Source(apply(text, edits)); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// folder renames the parts of a relative path that are packages' names.
func (w *writer) folder(relative string) string {
	parts := strings.Split(filepath.ToSlash(relative), "/")
	for i, part := range parts {
		if name, ok := w.names.Go[part]; ok {
			parts[i] = name
		}
	}
	return path.Join(parts...)
}

func apply(text []byte, edits map[edit]bool) []byte {
	ordered := make([]edit, 0, len(edits))
	for one := range edits {
		ordered = append(ordered, one)
	}
	sort.Slice(ordered, func(i, j int) bool { return ordered[i].start < ordered[j].start })
	var changed []byte
	at := 0
	for _, one := range ordered {
		changed = append(append(changed, text[at:one.start]...), one.text...)
		at = one.end
	}
	return append(changed, text[at:]...)
}

func (w *writer) replace(node ast.Node, text string) {
	file := w.module.fset.File(node.Pos())
	if w.edits[file.Name()] == nil {
		w.edits[file.Name()] = make(map[edit]bool)
	}
	w.edits[file.Name()][edit{file.Offset(node.Pos()), file.Offset(node.End()), text}] = true
}

// file notes the edits of one file. Every file has one, or it would be copied under its old name.
func (w *writer) file(p *Package, file *ast.File) {
	w.replace(file.Name, w.goName(file.Name.Name))
	special := w.metrics(p, file)
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.ImportSpec:
			w.importPath(n.Path)
			return false
		case *ast.SelectorExpr:
			if from, ok := n.X.(*ast.Ident); ok && from.Name == "C" && w.names.C[n.Sel.Name] != "" {
				w.replace(n.Sel, w.names.C[n.Sel.Name])
			}
		case *ast.Ident:
			w.identifier(p, n)
		case *ast.BasicLit:
			if n.Kind == token.STRING && !special[n] {
				if changed := w.paths(n.Value); changed != n.Value {
					w.replace(n, changed)
				}
			}
		}
		return true
	})
	w.comments(file)
}

func (w *writer) goName(name string) string {
	if changed, ok := w.names.Go[name]; ok {
		return changed
	}
	return name
}

func (w *writer) identifier(p *Package, n *ast.Ident) {
	object := p.info.Defs[n]
	if object == nil {
		object = p.info.Uses[n]
	}
	// An import's object has the name in this file and the package it stands for.
	if imported, ok := object.(interface{ Imported() *types.Package }); ok {
		if !w.module.own[imported.Imported().Path()] {
			return
		}
	} else if !w.module.isOwn(object) {
		return
	}
	if changed := w.goName(n.Name); changed != n.Name {
		w.replace(n, changed)
	}
}

func (w *writer) importPath(literal *ast.BasicLit) {
	if rest, ok := strings.CutPrefix(unquoted(literal), w.module.path+"/"); ok {
		w.replace(literal, strconv.Quote(w.names.Module+"/"+w.folder(rest)))
	}
}

// metrics renames metrics, labels and the handlers' names in routes; it returns the literals it has seen to.
func (w *writer) metrics(p *Package, file *ast.File) map[*ast.BasicLit]bool {
	seen := make(map[*ast.BasicLit]bool)
	rename := func(literal *ast.BasicLit, names map[string]string) {
		if changed, ok := names[unquoted(literal)]; ok && !seen[literal] {
			seen[literal] = true
			w.replace(literal, strconv.Quote(changed))
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.CompositeLit:
			for _, literal := range metricNames(p, n) {
				rename(literal, w.names.Metrics)
				for _, help := range metricHelp(p, n) {
					seen[help] = true
					words := strings.ReplaceAll(w.names.Metrics[unquoted(literal)], "_", " ")
					w.replace(help, strconv.Quote("Figures of "+words+"."))
				}
			}
		case *ast.CallExpr:
			for _, literal := range labelNames(p, n) {
				rename(literal, w.names.Labels)
			}
			if route(n) != nil {
				ast.Inspect(n.Args[1], func(node ast.Node) bool {
					if literal, ok := node.(*ast.BasicLit); ok {
						rename(literal, w.names.Go)
						rename(literal, w.names.Paths)
					}
					return true
				})
			}
		}
		return true
	})
	return seen
}

var segmentOfPath = regexp.MustCompile("(^|[\"'`\\s])(/[^\\s\"'`<>]*)")

// paths renames the segments of the HTTP paths in a literal, among other text as templates have it.
func (w *writer) paths(literal string) string {
	return segmentOfPath.ReplaceAllStringFunc(literal, func(match string) string {
		start := strings.IndexByte(match, '/')
		whole, query, hasQuery := strings.Cut(match[start:], "?")
		parts := strings.Split(whole, "/")
		if len(parts) < 2 || pathsKept[parts[1]] {
			return match
		}
		for i, part := range parts {
			if changed, ok := w.names.Paths[part]; ok {
				parts[i] = changed
			}
		}
		whole = strings.Join(parts, "/")
		if hasQuery {
			whole += "?" + query
		}
		return match[:start] + whole
	})
}

// comments lets the names in comments follow. Directives and culprits' marks stay; a preamble is C.
func (w *writer) comments(file *ast.File) {
	preamble := preambleOf(file)
	for _, group := range file.Comments {
		names := w.names.Go
		if group == preamble {
			names = w.names.C
		}
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:") || strings.Contains(comment.Text, "culprit:") {
				continue
			}
			changed := goWord.ReplaceAllStringFunc(comment.Text, func(word string) string {
				if changed, ok := names[word]; ok {
					return changed
				}
				return word
			})
			if changed != comment.Text {
				w.replace(comment, changed)
			}
		}
	}
}

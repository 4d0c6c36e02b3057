package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Module is a Go module, type-checked with cgo and without.
type Module struct {
	dir      string
	path     string
	fset     *token.FileSet
	packages []*Package
	own      map[string]bool // import paths of the module's packages
}

// Package is one package under one setting of CGO_ENABLED. Its file of the other setting is not in it.
type Package struct {
	dir   string
	types *types.Package
	info  *types.Info
	files []*ast.File
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Dir        string
	Export     string
	GoFiles    []string
	CgoFiles   []string
	ImportMap  map[string]string
	Module     *struct{ Path, Dir string }
	Error      *struct{ Err string }
}

func load(dir string) (*Module, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	m := &Module{dir: dir, fset: token.NewFileSet(), own: make(map[string]bool)}
	for _, cgo := range []string{"1", "0"} {
		all, err := list(dir, cgo)
		if err != nil {
			return nil, err
		}
		if err := m.add(all); err != nil {
			return nil, err
		}
	}
	if m.path == "" {
		return nil, fmt.Errorf("no package in %s", dir)
	}
	return m, nil
}

func list(dir, cgo string) ([]listed, error) {
	command := exec.Command("go", "list", "-deps", "-export", "-json", "./...")
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOWORK=off")
	var complaint strings.Builder
	command.Stderr = &complaint
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s with CGO_ENABLED=%s: %w\n%s", dir, cgo, err, complaint.String())
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(text))); ; {
		var one listed
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if one.Error != nil {
			return nil, fmt.Errorf("%s: %s", one.ImportPath, one.Error.Err)
		}
		all = append(all, one)
	}
}

// add parses and checks the module's own packages; those they import come from export data.
func (m *Module) add(all []listed) error {
	export := make(map[string]string)
	for _, one := range all {
		export[one.ImportPath] = one.Export
	}
	imports := importer.ForCompiler(m.fset, "gc", func(path string) (io.ReadCloser, error) {
		if export[path] == "" {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(export[path])
	})
	for _, one := range all {
		if one.Module == nil || filepath.Clean(one.Module.Dir) != m.dir {
			continue
		}
		m.path = one.Module.Path
		m.own[one.ImportPath] = true
		checked, err := m.check(one, imports)
		if err != nil {
			return err
		}
		m.packages = append(m.packages, checked)
	}
	return nil
}

func (m *Module) check(one listed, imports types.Importer) (*Package, error) {
	p := &Package{dir: one.Dir, info: &types.Info{
		Defs:  make(map[*ast.Ident]types.Object),
		Uses:  make(map[*ast.Ident]types.Object),
		Types: make(map[ast.Expr]types.TypeAndValue),
	}}
	for _, name := range append(one.GoFiles, one.CgoFiles...) {
		file, err := parser.ParseFile(m.fset, filepath.Join(one.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, file)
	}
	config := types.Config{Importer: imports, FakeImportC: true}
	var err error
	p.types, err = config.Check(one.ImportPath, m.fset, p.files, p.info)
	return p, err
}

// isOwn tells whether an object is declared in the module.
func (m *Module) isOwn(object types.Object) bool {
	return object != nil && object.Pkg() != nil && m.own[object.Pkg().Path()]
}

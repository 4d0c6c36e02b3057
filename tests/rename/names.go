package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// Names maps what the module's parts are called to what the copy's are. An identifier has one new name
// wherever it stands, so that methods still meet the module's interfaces and embedded types their fields.
type Names struct {
	Module  string            `json:"module"`
	Go      map[string]string `json:"go"`
	C       map[string]string `json:"c"`
	Files   map[string]string `json:"files"`
	Metrics map[string]string `json:"metrics"`
	Labels  map[string]string `json:"labels"`
	Paths   map[string]string `json:"paths"` // single segments
}

// pathsKept are the first segments of HTTP paths that tools ask for.
var pathsKept = map[string]bool{"metrics": true, "debug": true, "admin": true}

// methodsKept are looked for by the standard library in interfaces that have no name.
var methodsKept = []string{"Unwrap", "Is", "As", "Timeout", "Temporary"}

type picker struct {
	random *rand.Rand
	taken  map[string]bool
}

func pickNames(m *Module, seed uint64) *Names {
	found := collect(m)
	p := &picker{random: rand.New(rand.NewPCG(seed, 0x5eed)), taken: found.words}
	n := &Names{
		Go: make(map[string]string), C: make(map[string]string), Files: make(map[string]string),
		Metrics: make(map[string]string), Labels: make(map[string]string), Paths: make(map[string]string),
	}
	n.Module = "example.com/" + p.snake(1)
	for _, name := range sorted(found.identifiers) {
		if !found.kept[name] {
			if found.packages[name] {
				n.Go[name] = strings.ReplaceAll(p.snake(1), "_", "")
			} else {
				n.Go[name] = p.identifier(name, found.identifiers[name])
			}
		}
	}
	for _, name := range sorted(found.cNames) {
		n.C[name] = p.snake(2)
	}
	for _, name := range sorted(found.files) {
		n.Files[name] = p.file(name)
	}
	prefix := p.snake(1)
	for _, name := range sorted(found.metrics) {
		n.Metrics[name] = prefix + "_" + p.snake(2) + metricSuffix.FindString(name)
	}
	for _, name := range sorted(found.labels) {
		n.Labels[name] = p.snake(1)
	}
	for _, name := range sorted(found.paths) {
		n.Paths[name] = p.snake(1)
	}
	return n
}

var metricSuffix = regexp.MustCompile(`(_seconds|_bytes|_ratio|_info)?(_total)?$`)

// identifier returns a new name for name, exported if that is. Functions get a verb.
func (p *picker) identifier(name string, isFunction bool) string {
	parts := []string{p.word(nouns)}
	if isFunction {
		parts[0] = p.word(verbs)
	}
	for {
		joined := parts[0]
		for _, part := range parts[1:] {
			joined += strings.ToUpper(part[:1]) + part[1:]
		}
		if first, _ := firstRune(name); unicode.IsUpper(first) {
			joined = strings.ToUpper(joined[:1]) + joined[1:]
		}
		if p.take(joined) {
			return joined
		}
		parts = append(parts[:1], p.word(nouns))
		if p.random.IntN(4) == 0 {
			parts = append(parts, p.word(nouns))
		}
	}
}

// snake returns a new name of count words or a few more.
func (p *picker) snake(count int) string {
	for {
		parts := make([]string, count)
		for i := range parts {
			parts[i] = p.word(nouns)
		}
		if name := strings.Join(parts, "_"); p.take(name) {
			return name
		}
		count = min(count+p.random.IntN(2), 4)
	}
}

// file keeps of a file's name only what go build reads in it.
func (p *picker) file(name string) string {
	stem, extension := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	suffix := ""
	if cut := strings.LastIndexByte(stem, '_'); cut > 0 && platforms[stem[cut+1:]] {
		suffix = stem[cut:]
	}
	return p.snake(1+p.random.IntN(2)) + suffix + extension
}

var platforms = map[string]bool{
	"linux": true, "darwin": true, "windows": true, "freebsd": true, "unix": true, "amd64": true, "arm64": true,
}

func (p *picker) word(words []string) string { return words[p.random.IntN(len(words))] }

func (p *picker) take(name string) bool {
	key := strings.ToLower(name)
	if p.taken[key] || token.IsKeyword(name) || types.Universe.Lookup(name) != nil {
		return false
	}
	p.taken[key] = true
	return true
}

// found is what there is to rename.
type found struct {
	words       map[string]bool // every identifier of the module in lower case: none is a new name
	identifiers map[string]bool // to whether it is a function
	packages    map[string]bool // those of identifiers that name a package
	kept        map[string]bool
	cNames      map[string]bool
	files       map[string]bool
	metrics     map[string]bool
	labels      map[string]bool
	paths       map[string]bool
}

func collect(m *Module) *found {
	f := &found{
		words: make(map[string]bool), identifiers: make(map[string]bool),
		packages: make(map[string]bool), kept: make(map[string]bool),
		cNames: make(map[string]bool), files: make(map[string]bool), metrics: make(map[string]bool),
		labels: make(map[string]bool), paths: make(map[string]bool),
	}
	for _, name := range append(methodsKept, "main", "init", "_", "C") {
		f.kept[name] = true
	}
	for _, p := range m.packages {
		for object := range objects(p.info) {
			f.object(m, p, object)
		}
		f.keepForeignMethods(p)
		for _, file := range p.files {
			f.identifiers[file.Name.Name] = f.identifiers[file.Name.Name]
			f.packages[file.Name.Name] = true
			f.files[filepath.Base(m.fset.File(file.Pos()).Name())] = true
			f.file(p, file)
		}
	}
	return f
}

func objects(info *types.Info) map[types.Object]bool {
	all := make(map[types.Object]bool)
	for _, object := range info.Defs {
		if object != nil {
			all[object] = true
		}
	}
	return all
}

func (f *found) object(m *Module, p *Package, object types.Object) {
	switch o := object.(type) {
	case *types.Func:
		f.identifiers[o.Name()] = true
	case *types.Var:
		if o.Embedded() && !m.isOwn(named(o.Type())) {
			f.kept[o.Name()] = true // called as its type is
		} else if o.IsField() || o.Parent() == p.types.Scope() {
			f.identifiers[o.Name()] = f.identifiers[o.Name()]
		}
	case *types.Const, *types.TypeName:
		if o.Parent() == p.types.Scope() {
			f.identifiers[o.Name()] = f.identifiers[o.Name()]
		}
	}
}

// named returns the name of the type t, or of what it points to; nil if it has none.
func named(t types.Type) types.Object {
	if pointer, ok := t.(*types.Pointer); ok {
		t = pointer.Elem()
	}
	if n, ok := types.Unalias(t).(*types.Named); ok {
		return n.Obj()
	}
	return nil
}

// keepForeignMethods keeps the methods by which types of p meet an interface of a package it imports,
// straight or by way of others.
func (f *found) keepForeignMethods(p *Package) {
	seen := map[*types.Package]bool{p.types: true}
	var interfaces []*types.Interface
	var visit func(imported []*types.Package)
	visit = func(imported []*types.Package) {
		for _, one := range imported {
			if !seen[one] {
				seen[one] = true
				interfaces = append(interfaces, interfacesOf(one.Scope())...)
				visit(one.Imports())
			}
		}
	}
	interfaces = append(interfaces, interfacesOf(types.Universe)...)
	visit(p.types.Imports())
	for _, name := range p.types.Scope().Names() {
		object, ok := p.types.Scope().Lookup(name).(*types.TypeName)
		if !ok || types.IsInterface(object.Type()) {
			continue
		}
		for _, one := range interfaces {
			if types.Implements(types.NewPointer(object.Type()), one) {
				for i := range one.NumMethods() {
					f.kept[one.Method(i).Name()] = true
				}
			}
		}
	}
}

func interfacesOf(scope *types.Scope) []*types.Interface {
	var all []*types.Interface
	for _, name := range scope.Names() {
		object, ok := scope.Lookup(name).(*types.TypeName)
		if !ok {
			continue
		}
		if n, ok := object.Type().(*types.Named); ok && n.TypeParams() != nil {
			continue
		}
		if one, ok := object.Type().Underlying().(*types.Interface); ok && one.NumMethods() > 0 && one.IsMethodSet() {
			all = append(all, one)
		}
	}
	return all
}

var (
	templateName = regexp.MustCompile(`\.([A-Z]\w*)`)
	cDefinition  = regexp.MustCompile(`(?m)^static [^(;=]*?(\w+)\(|^}\s*(\w+);`)
	goWord       = regexp.MustCompile(`[A-Za-z_]\w*`)
)

// file looks for what has its name in a string: metrics, labels, paths, fields in templates; and for C.
func (f *found) file(p *Package, file *ast.File) {
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.Ident:
			f.words[strings.ToLower(n.Name)] = true
		case *ast.BasicLit:
			if text := unquoted(n); strings.Contains(text, "{{") {
				for _, match := range templateName.FindAllStringSubmatch(text, -1) {
					f.kept[match[1]] = true
				}
			}
		case *ast.CompositeLit:
			for _, literal := range metricNames(p, n) {
				f.metrics[unquoted(literal)] = true
			}
		case *ast.CallExpr:
			for _, literal := range labelNames(p, n) {
				f.labels[unquoted(literal)] = true
			}
			for _, segment := range segments(route(n)) {
				f.paths[segment] = true
			}
		}
		return true
	})
	if preamble := preambleOf(file); preamble != nil {
		for _, match := range cDefinition.FindAllStringSubmatch(preamble.Text(), -1) {
			f.cNames[match[1]+match[2]] = true
		}
		for _, word := range goWord.FindAllString(preamble.Text(), -1) {
			f.words[strings.ToLower(word)] = true
		}
	}
}

func preambleOf(file *ast.File) *ast.CommentGroup {
	for _, declaration := range file.Decls {
		d, ok := declaration.(*ast.GenDecl)
		if !ok || d.Tok != token.IMPORT {
			continue
		}
		for _, spec := range d.Specs {
			one := spec.(*ast.ImportSpec)
			if unquoted(one.Path) == "C" {
				if one.Doc != nil {
					return one.Doc
				}
				return d.Doc
			}
		}
	}
	return nil
}

const prometheusPath = "github.com/prometheus/client_golang/prometheus"

// metricNames returns the literals that name a metric in a prometheus.XOpts{...}.
func metricNames(p *Package, composite *ast.CompositeLit) []*ast.BasicLit {
	return metricTexts(p, composite, "Name", "Namespace", "Subsystem")
}

// metricHelp returns the literal that describes a metric in a prometheus.XOpts{...}.
func metricHelp(p *Package, composite *ast.CompositeLit) []*ast.BasicLit {
	return metricTexts(p, composite, "Help")
}

func metricTexts(p *Package, composite *ast.CompositeLit, keys ...string) []*ast.BasicLit {
	name := named(p.info.Types[composite].Type)
	if p.info.Types[composite].Type == nil || name == nil || name.Pkg() == nil ||
		name.Pkg().Path() != prometheusPath || !strings.HasSuffix(name.Name(), "Opts") {
		return nil
	}
	var literals []*ast.BasicLit
	for _, element := range composite.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, isIdent := pair.Key.(*ast.Ident)
		literal, isLiteral := pair.Value.(*ast.BasicLit)
		if isIdent && isLiteral && slices.Contains(keys, key.Name) {
			literals = append(literals, literal)
		}
	}
	return literals
}

// labelNames returns the label literals of a prometheus.NewXVec(..., []string{...}).
func labelNames(p *Package, call *ast.CallExpr) []*ast.BasicLit {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	function := p.info.Uses[selector.Sel]
	if function == nil || function.Pkg() == nil || !strings.HasPrefix(function.Pkg().Path(), prometheusPath) ||
		!strings.HasSuffix(function.Name(), "Vec") {
		return nil
	}
	var literals []*ast.BasicLit
	for _, argument := range call.Args[min(1, len(call.Args)):] {
		if composite, ok := argument.(*ast.CompositeLit); ok {
			for _, element := range composite.Elts {
				if literal, ok := element.(*ast.BasicLit); ok {
					literals = append(literals, literal)
				}
			}
		}
	}
	return literals
}

// route returns the pattern of a mux.Handle or mux.HandleFunc call, nil if call is none.
func route(call *ast.CallExpr) *ast.BasicLit {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 2 || (selector.Sel.Name != "Handle" && selector.Sel.Name != "HandleFunc") {
		return nil
	}
	literal, _ := call.Args[0].(*ast.BasicLit)
	return literal
}

// segments returns the fixed segments of a pattern, none for a path that tools ask for.
func segments(pattern *ast.BasicLit) []string {
	if pattern == nil {
		return nil
	}
	_, path, _ := strings.Cut(unquoted(pattern), "/")
	all := strings.Split(path, "/")
	if pathsKept[all[0]] {
		return nil
	}
	var fixed []string
	for _, segment := range all {
		if segment != "" && !strings.HasPrefix(segment, "{") {
			fixed = append(fixed, segment)
		}
	}
	return fixed
}

// unquoted returns what a string literal says, "" for a literal of another kind.
func unquoted(literal *ast.BasicLit) string {
	if literal == nil || literal.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(literal.Value) // the parser has seen to it
	return text
}

func firstRune(text string) (rune, bool) {
	for _, r := range text {
		return r, true
	}
	return 0, false
}

func sorted(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

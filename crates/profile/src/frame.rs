//! A frame, and the frame of a stack that a person should look at.
//!
//! Go writes a function as `import/path.Func`, `import/path.(*Type).Method`, `import/path.Func.func1`
//! for closures and `import/path.Func[...]` for generics. Dots in the path's last element are
//! written `%2e` (`gopkg.in/yaml%2ev3.Unmarshal`), so the first dot after the last slash ends the
//! path. Source: `cmd/internal/objabi`, `PathToPrefix`.

use std::borrow::Cow;

/// One call of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Frame<'a> {
    /// The function, as the profile spells it; empty if nobody symbolised the address.
    pub function: &'a str,
    /// Its source file; the binary if the function is not known.
    pub file: &'a str,
    /// The line of the call in progress; 0 if not known.
    pub line: i64,
    /// The function's first line; 0 if not known, as in Go's own profiles before 1.20.
    pub start_line: i64,
}

impl<'a> Frame<'a> {
    /// The function, or as pprof prints what it does not know: `[binary]`, `<unknown>`.
    pub fn name(&self) -> Cow<'a, str> {
        match (self.function, self.file) {
            ("", "") => Cow::Borrowed("<unknown>"),
            ("", file) => Cow::Owned(format!("[{}]", base_name(file))),
            (function, _) => Cow::Borrowed(function),
        }
    }
}

/// The last element of a path.
pub(crate) fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        "/"
    } else {
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The main module, or package `main`.
    Main,
    /// Another module.
    ThirdParty,
    /// C, or anything else that is not named as Go names functions.
    Foreign,
    /// The runtime, the standard library, what cgo generates: never what to look at.
    Standard,
    /// Not symbolised.
    Unknown,
}

/// The import path of a Go function's package, escapes undone; `None` if `function` is not named as
/// Go names functions.
pub fn package_path(function: &str) -> Option<Cow<'_, str>> {
    // Type arguments and receivers may hold paths of their own.
    let name = &function[..function.find(['[', '(']).unwrap_or(function.len())];
    let last_element = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name[last_element..].find('.').filter(|&dot| dot > 0)?;
    let path = &name[..last_element + dot];
    Some(if path.contains('%') {
        Cow::Owned(unescape(path))
    } else {
        Cow::Borrowed(path)
    })
}

fn unescape(path: &str) -> String {
    let mut parts = path.split('%');
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                out.push(char::from(code));
                out.push_str(&part[2..]);
            }
            None => {
                out.push('%');
                out.push_str(part);
            }
        }
    }
    out
}

/// Whose code `frame` is. `main_module` is the module path of the program, from its build
/// information.
///
/// The standard library is what has no dot in its path's first element; a main module may have none
/// either (`shop/internal/cache`), so a given `main_module` wins. Without it, packages of other
/// paths count as the program's own, unless their file lies in the module cache or in a vendor
/// directory.
pub fn owner(frame: &Frame<'_>, main_module: Option<&str>) -> Owner {
    if frame.function.is_empty() {
        return Owner::Unknown;
    }
    if is_cgo_stub(frame.function) {
        return Owner::Standard;
    }
    let path = package_path(frame.function).filter(|_| !is_c_file(frame.file));
    let Some(path) = path else {
        return Owner::Foreign;
    };
    let main_module = main_module.filter(|module| !module.is_empty());
    let in_module = |module: &str| {
        path.strip_prefix(module)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if matches!(&*path, "main" | "command-line-arguments") || main_module.is_some_and(in_module) {
        return Owner::Main;
    }
    if !path
        .split('/')
        .next()
        .is_some_and(|first| first.contains('.'))
    {
        return Owner::Standard;
    }
    match main_module {
        None if !is_module_cache(frame.file) => Owner::Main,
        _ => Owner::ThirdParty,
    }
}

/// What cgo generates on both sides of a call: `main._Cfunc_free`, `_cgo_1a2b_Cfunc_free`,
/// `_cgoexp_1a2b_callback`, `crosscall2`, `x_cgo_thread_start`.
fn is_cgo_stub(function: &str) -> bool {
    let name = function.rsplit('.').next().unwrap_or(function);
    [
        "_Cfunc_",
        "_Cmacro_",
        "_C2func_",
        "_cgo",
        "x_cgo_",
        "crosscall",
    ]
    .iter()
    .any(|stub| name.starts_with(stub))
        || function.contains("._Cfunc_")
        || function.contains("._cgo")
}

fn is_c_file(file: &str) -> bool {
    let extension = base_name(file)
        .rsplit_once('.')
        .map(|(_, extension)| extension);
    matches!(
        extension,
        Some("c" | "cc" | "cpp" | "cxx" | "h" | "hpp" | "rs")
    )
}

fn is_module_cache(file: &str) -> bool {
    file.contains("/vendor/") || file.contains("@v")
}

/// The frame of `stack` (leaf first) that a person should look at: the first of the program's own
/// code, else the first of a third party's, else the first C function. `None` if there is only the
/// runtime and the standard library, or nothing was symbolised.
pub fn frame_to_look_at<'a>(stack: &[Frame<'a>], main_module: Option<&str>) -> Option<Frame<'a>> {
    let mut best: Option<(Owner, Frame<'a>)> = None;
    for frame in stack {
        match (owner(frame, main_module), best.map(|(owner, _)| owner)) {
            (Owner::Main, _) => return Some(*frame),
            (Owner::ThirdParty, None | Some(Owner::Foreign)) => {
                best = Some((Owner::ThirdParty, *frame));
            }
            (Owner::Foreign, None) => best = Some((Owner::Foreign, *frame)),
            _ => {}
        }
    }
    best.map(|(_, frame)| frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &'static str) -> Frame<'static> {
        Frame {
            function,
            ..Frame::default()
        }
    }

    #[test]
    fn package_paths() {
        for (function, expected) in [
            ("main.(*SessionCache).Put", Some("main")),
            (
                "example.com/shop/internal/cache.(*SessionCache).Put",
                Some("example.com/shop/internal/cache"),
            ),
            ("main.main.func1", Some("main")),
            ("main.f[...]", Some("main")),
            ("main.f[go.shape.struct { example.com/a.B }]", Some("main")),
            (
                "gopkg.in/yaml%2ev3.(*Decoder).Decode",
                Some("gopkg.in/yaml.v3"),
            ),
            ("github.com/a%zz/b.F", Some("github.com/a%zz/b")),
            ("github.com/a/100%", None),
            ("runtime.goexit", Some("runtime")),
            ("malloc", None),
            ("std::vector<int>::push_back", None),
            (".L1", None),
            ("", None),
        ] {
            assert_eq!(package_path(function).as_deref(), expected, "{function}");
        }
    }

    #[test]
    fn owners() {
        use Owner::{Foreign, Main, Standard, ThirdParty, Unknown};
        let shop = Some("example.com/shop");
        for (function, file, module, expected) in [
            ("main.main", "", shop, Main),
            ("main.main", "", None, Main),
            ("example.com/shop.Put", "", shop, Main),
            ("example.com/shop/cache.Put", "", shop, Main),
            ("example.com/shopping.Put", "", shop, ThirdParty),
            ("example.com/shop/cache.Put", "", None, Main),
            (
                "example.com/x.Put",
                "/root/go/pkg/mod/example.com/x@v1.2.0/x.go",
                None,
                ThirdParty,
            ),
            (
                "example.com/x.Put",
                "/src/shop/vendor/example.com/x/x.go",
                None,
                ThirdParty,
            ),
            ("shop/cache.Put", "", Some("shop"), Main),
            ("shop/cache.Put", "", None, Standard),
            ("net/http.(*conn).serve", "", shop, Standard),
            ("vendor/golang.org/x/net/http2/hpack.f", "", shop, Standard),
            ("runtime.main", "", shop, Standard),
            ("main._Cfunc_malloc", "", shop, Standard),
            ("main.read._Cfunc_read.func1", "", shop, Standard),
            ("_cgo_0a1b2c_Cfunc_leak", "", shop, Standard),
            ("crosscall2", "", shop, Standard),
            ("leak_buffer", "", shop, Foreign),
            ("leak_buffer.part.0", "/src/shop/leak.c", shop, Foreign),
            ("", "/bin/shop", shop, Unknown),
            ("main.main", "", Some(""), Main),
        ] {
            let frame = Frame {
                function,
                file,
                ..Frame::default()
            };
            assert_eq!(
                owner(&frame, module),
                expected,
                "{function} {file} {module:?}"
            );
        }
    }

    #[test]
    fn the_frame_to_look_at() {
        let shop = Some("example.com/shop");
        let http = ["net/http.(*conn).serve", "runtime.goexit"];
        let rows: [(&str, Vec<&'static str>, Option<&str>); 6] = [
            (
                "own code below the library",
                vec![
                    "bytes.growSlice",
                    "example.com/shop/cache.Put",
                    "main.main",
                    "runtime.main",
                ],
                Some("example.com/shop/cache.Put"),
            ),
            (
                "own code behind a third party",
                vec!["github.com/x/y.Do", "example.com/shop.call", "main.main"],
                Some("example.com/shop.call"),
            ),
            (
                "a third party alone",
                vec![
                    "strings.Repeat",
                    "github.com/x/y.Do",
                    "github.com/x/y.Run",
                    "runtime.goexit",
                ],
                Some("github.com/x/y.Do"),
            ),
            (
                "a third party before C",
                vec![
                    "leak",
                    "_cgo_12_Cfunc_leak",
                    "runtime.cgocall",
                    "github.com/x/y.Do",
                ],
                Some("github.com/x/y.Do"),
            ),
            ("C alone", vec!["malloc", "leak"], Some("malloc")),
            ("the library alone", http.to_vec(), None),
        ];
        for (name, stack, expected) in rows {
            let stack: Vec<_> = stack.into_iter().map(frame).collect();
            let found = frame_to_look_at(&stack, shop).map(|frame| frame.function);
            assert_eq!(found, expected, "{name}");
        }
    }
}

//! Type names as people write them.

use super::DEPTH_MAX;

/// The compiler's name of a type, made readable.
///
/// `go.shape.*uint8` is `*uint8`, `interface {}` is `any`, and the linker's own types for maps and channels say
/// what they are: `bucket<string,int>` is a `map bucket`.
pub fn readable(name: &str) -> String {
    let mut name = name;
    let mut stars = String::new();
    loop {
        if let Some(rest) = name.strip_prefix('*') {
            stars.push('*');
            name = rest;
        } else if let Some(rest) = name.strip_prefix("noalg.") {
            name = rest;
        } else {
            break;
        }
    }
    stars + &internal(name).unwrap_or_else(|| spelled(name))
}

/// The words for a type that no source has.
fn internal(name: &str) -> Option<String> {
    for (prefix, word) in [
        ("bucket<", "map bucket"),
        ("map.bucket[", "map bucket"),
        ("map.group[", "map bucket"),
        ("table<", "map table"),
        ("groupReference<", "map buckets"),
        ("waitq<", "runtime.waitq"),
        ("sudog<", "runtime.sudog"),
        ("internal/sync.indirect[", "sync.Map node"),
        ("internal/sync.node[", "sync.Map node"),
        ("[]key<", "map keys"),
        ("[]val<", "map elements"),
    ] {
        if name.starts_with(prefix) {
            return Some(word.to_owned());
        }
    }
    match name {
        "runtime.hmap" | "internal/runtime/maps.Map" => return Some("map".to_owned()),
        // What `time.Timer` and `time.Ticker` are since Go 1.23.
        "runtime.timeTimer" => return Some("time.Timer".to_owned()),
        "runtime.bmap" => return Some("map bucket".to_owned()),
        _ => {}
    }
    let inside = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix('>');
    if let Some(inside) = inside("hash<").or_else(|| inside("map<")) {
        return Some(match arguments(inside).as_slice() {
            [key, elem] => format!("map[{}]{}", readable(key), readable(elem)),
            _ => "map".to_owned(),
        });
    }
    inside("hchan<").map(|elem| format!("chan {}", readable(elem)))
}

/// Takes the compiler's marks out of a name.
fn spelled(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let at_word = !text.ends_with(|last: char| last.is_alphanumeric() || "_./".contains(last));
        if let Some(tail) = rest.strip_prefix("interface {}") {
            text.push_str("any");
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("struct {}") {
            text.push_str("struct{}");
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("go.shape.").filter(|_| at_word) {
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("noalg.").filter(|_| at_word) {
            rest = tail;
        } else {
            let mut chars = rest.chars();
            text.extend(chars.next());
            rest = chars.as_str();
        }
    }
    // Shapes of Go 1.18 to 1.20 were numbered: `go.shape.int_0`.
    if name.starts_with("go.shape.")
        && let Some((shape, number)) = text.rsplit_once('_')
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return shape.to_owned();
    }
    text
}

/// Splits `string,map[int,x]` at the commas that stand in no bracket.
pub(super) fn arguments(text: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'(' | b'{' | b'<' => depth += 1,
            b']' | b')' | b'}' => depth = depth.saturating_sub(1),
            // An arrow of a channel is no bracket; its `<` was counted.
            b'-' if text[..at].ends_with('<') => depth = depth.saturating_sub(1),
            b'>' => depth = depth.saturating_sub(1),
            b',' if depth == 0 && found.len() < DEPTH_MAX => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
}

/// The type arguments in a name: `string` and `int` of `pkg.Cache[string,int]`.
pub(super) fn type_arguments(name: &str) -> Vec<&str> {
    let inside = name
        .split_once('[')
        .and_then(|(_, rest)| rest.strip_suffix(']'));
    inside.map_or_else(Vec::new, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_people_write_them() {
        for (name, want) in [
            ("main.Session", "main.Session"),
            ("*main.Session", "*main.Session"),
            ("map[string]interface {}", "map[string]any"),
            ("chan struct {}", "chan struct{}"),
            ("go.shape.*uint8", "*uint8"),
            ("go.shape.int_0", "int"),
            (
                "main.Cache[go.shape.string,go.shape.interface {}]",
                "main.Cache[string,any]",
            ),
            ("cargo.shape.T", "cargo.shape.T"),
            ("main.x_1", "main.x_1"),
            ("hash<string,*main.Session>", "map[string]*main.Session"),
            ("*map<interface {},*sync.entry>", "*map[any]*sync.entry"),
            (
                "map<main.Pair[int,string],int>",
                "map[main.Pair[int,string]]int",
            ),
            ("bucket<string,int>", "map bucket"),
            ("**table<string,int>", "**map table"),
            ("noalg.map.group[string]int", "map bucket"),
            ("hchan<*main.Job>", "chan *main.Job"),
            ("map<unclosed", "map<unclosed"),
            ("", ""),
        ] {
            assert_eq!(readable(name), want, "{name}");
        }
    }

    #[test]
    fn arguments_are_split_outside_of_brackets() {
        for (text, want) in [
            ("string,int", vec!["string", "int"]),
            ("map[int]x,func(a, b) c", vec!["map[int]x", "func(a, b) c"]),
            ("<-chan int,chan<- x", vec!["<-chan int", "chan<- x"]),
            ("a]]],b", vec!["a]]]", "b"]),
            ("", vec![""]),
        ] {
            assert_eq!(arguments(text), want, "{text}");
        }
        assert_eq!(type_arguments("p.T[a,b[c,d]]"), ["a", "b[c,d]"]);
        assert_eq!(type_arguments("p.T"), Vec::<&str>::new());
    }
}

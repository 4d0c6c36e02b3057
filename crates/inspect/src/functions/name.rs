//! How the runtime prints a function's name.

use std::borrow::Cow;

/// The name as tracebacks print it: type arguments become `[...]`.
///
/// Go 1.27 has methods with type parameters of their own, so there may be two pairs of brackets side by side:
/// `Map[...].To[...]`. Older versions fold from the first bracket to the last; the names differ in
/// nothing else but comparisons that the compiler made (`type:.eq.[2]T[int]`).
pub fn printed_name(name: &str) -> Cow<'_, str> {
    let (Some(first), Some(last)) = (name.find('['), name.rfind(']')) else {
        return Cow::Borrowed(name);
    };
    if last <= first {
        return Cow::Borrowed(name);
    }
    let (head, inside, tail) = (&name[..first], &name[first + 1..last], &name[last + 1..]);
    Cow::Owned(match between_brackets(inside) {
        Some(middle) => format!("{head}[...]{middle}[...]{tail}"),
        None => format!("{head}[...]{tail}"),
    })
}

/// In `int].To[string` the `.To`: what lies outside of all brackets, once one has been opened before `inside`.
fn between_brackets(inside: &str) -> Option<&str> {
    let (mut depth, mut closed) = (1_u32, None);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'[' if depth == 0 => return closed.map(|closed: usize| &inside[closed + 1..at]),
            b'[' => depth += 1,
            b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    closed = Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_arguments_are_folded() {
        let rows = [
            ("main.f", "main.f"),
            ("main.f[go.shape.int]", "main.f[...]"),
            (
                "main.(*T[go.shape.[]uint8,go.shape.map[string]int]).Get.func1",
                "main.(*T[...]).Get.func1",
            ),
            (
                "main.Map[go.shape.[4]int].To[go.shape.string]",
                "main.Map[...].To[...]",
            ),
            ("main.f]x[", "main.f]x["),
            ("main.f[", "main.f["),
            ("main.f[a]]", "main.f[...]"),
            ("", ""),
        ];
        for (name, want) in rows {
            assert_eq!(printed_name(name), want, "{name}");
        }
    }
}

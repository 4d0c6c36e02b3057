//! What a closure keeps: the variables behind its first word, by the function that it is.

use super::{Field, Kind, Shape, Type, TypeId, Types};

/// Closures of one program.
const CLOSURES_MAX: usize = 1 << 20;
/// Where the first captured variable lies.
const FIRST: u64 = 8;

impl Types<'_> {
    /// The type of a closure's object, by the function whose address is its first word. `None` when no function
    /// begins there.
    ///
    /// Names of captured variables are known since Go 1.23, from debug information; those captured by reference
    /// are pointers. The receiver of a method value is known with every release.
    pub fn closure(&mut self, pc: u64) -> Option<TypeId> {
        if let Some(&known) = self.closures.get(&pc) {
            return known;
        }
        let found = self.make_closure(pc);
        if self.closures.len() < CLOSURES_MAX {
            self.closures.insert(pc, found);
        }
        found
    }

    fn make_closure(&mut self, pc: u64) -> Option<TypeId> {
        let name = (self.from.function)(pc)?;
        let captures = match self.from.dwarf_at(pc) {
            Some((dwarf, bias)) => dwarf.captures(pc.wrapping_sub(bias)),
            None => Vec::new(),
        };
        let mut fields = Vec::with_capacity(captures.len());
        for capture in captures {
            fields.push(Field {
                name: capture.name.trim_start_matches('&').into(),
                offset: capture.offset,
                ty: capture.ty.map_or(self.unknown, |ty| self.by_die(ty)),
            });
        }
        if fields.is_empty() {
            fields.extend(self.receiver(&name));
        }
        let mut size = FIRST;
        for field in &fields {
            size = size.max(field.offset.saturating_add(self.size(field.ty)));
        }
        Some(self.make(Type::made(
            &format!("func {name}"),
            size,
            Kind::Struct,
            Shape::Struct(fields.into()),
        )))
    }

    /// `main.(*T).Close-fm` is a method with its receiver, a `*main.T`.
    fn receiver(&mut self, function: &str) -> Option<Field> {
        let ty = receiver_type(function)?;
        Some(Field {
            name: "receiver".into(),
            offset: FIRST,
            ty: self.by_name(&ty)?,
        })
    }
}

fn receiver_type(function: &str) -> Option<String> {
    let (ty, _method) = function.strip_suffix("-fm")?.rsplit_once('.')?;
    match ty.split_once(".(*") {
        Some((package, ty)) => Some(format!("*{package}.{}", ty.strip_suffix(')')?)),
        None => Some(ty.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::receiver_type;

    #[test]
    fn the_receiver_is_in_the_name() {
        for (name, want) in [
            ("main.(*T).Close-fm", Some("*main.T")),
            ("example.com/a.(*T).Close-fm", Some("*example.com/a.T")),
            ("main.T.String-fm", Some("main.T")),
            ("main.main.func1", None),
            ("main.(*T.Close-fm", None),
            ("-fm", None),
        ] {
            assert_eq!(receiver_type(name).as_deref(), want, "{name}");
        }
    }
}

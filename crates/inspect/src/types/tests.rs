//! Types from descriptors that a test wrote down, good and bad.

use proptest::prelude::*;

use super::*;
use crate::memory::Pieces;

const START: u64 = 0x10_0000;

/// Memory with descriptors, one behind the other from `START` on.
#[derive(Default)]
struct Image(Vec<u8>);

impl Image {
    fn here(&self) -> u64 {
        START + self.0.len() as u64
    }

    /// A name; returns its offset from the start.
    fn text(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend([0, text.len() as u8]);
        self.0.extend(text.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        at
    }

    /// A descriptor of that kind, with the words that follow its header.
    fn descriptor(&mut self, name: &str, kind: u8, size: u64, tail: &[u64]) -> u64 {
        let name = self.text(name);
        let at = self.here();
        self.words(&[size, size & !7]);
        self.0.extend([0, 0, 0, 0, 0, 8, 8, kind]);
        self.words(&[0, 0]);
        self.0.extend(name.to_le_bytes());
        self.0.extend([0; 4]);
        self.words(tail);
        self.words(&[0; 3]);
        at
    }

    fn words(&mut self, words: &[u64]) {
        self.0
            .extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
}

fn sources(memory: &Pieces, end: u64) -> Sources<'_> {
    Sources {
        memory,
        dwarf: None,
        bias: 0,
        plugins: Vec::new(),
        modules: vec![Descriptors { start: START, end }],
        go_minor: 27,
        function: Box::new(|pc| (pc == 0x77).then(|| "main.main.func1".to_owned())),
    }
}

/// `len` and `many` of one look at a slot.
fn look(
    types: &mut Types<'_>,
    ty: TypeId,
    offset: u64,
    words: &dyn Words,
) -> (String, String, bool) {
    let slot = types.slot(
        Label::one(ty),
        offset,
        0x9000u64.wrapping_add(offset),
        0x5000,
        words,
    );
    let name = slot.pointee.map(|ty| types.name(ty).to_string());
    let piece = types.piece(slot.piece).to_owned();
    (piece, name.unwrap_or_default(), slot.many)
}

#[test]
fn slots_of_a_structure_that_only_descriptors_describe() {
    let mut image = Image::default();
    let int = image.descriptor("int", 2, 8, &[]);
    let string = image.descriptor("string", 24, 16, &[]);
    let any = image.descriptor("interface {}", 20, 16, &[0, 0, 0]);
    let pointer = image.descriptor("*int", 22, 8, &[int]);
    let slice = image.descriptor("[]*int", 23, 24, &[pointer]);
    let func = image.descriptor("func()", 19, 8, &[]);
    let array = image.descriptor("[2]*int", 17, 16, &[pointer, slice, 2]);
    let names: Vec<u64> = ["p", "s", "all", "some", "f", "pair", "n"]
        .iter()
        .map(|name| START + u64::from(image.text(name)))
        .collect();
    let fields = image.here();
    let parts = [
        (pointer, 0),
        (string, 8),
        (slice, 24),
        (any, 48),
        (func, 64),
        (array, 72),
        (int, 88),
    ];
    for (name, (ty, offset)) in names.iter().zip(parts) {
        image.words(&[*name, ty, offset]);
    }
    let all = image.descriptor("main.T", 25, 96, &[0, fields, 7, 7]);
    let end = image.here();
    let mut memory = Pieces::new();
    memory.put(START, image.0);
    let mut types = Types::new(sources(&memory, end));
    let ty = types.by_descriptor(all).unwrap();
    assert_eq!(&*types.name(ty), "main.T");
    // The interface's first word tells `*int`; what the function's word points at begins with a function.
    let words = |at: u64| Some(if at == 0x9000 + 48 { pointer } else { 0x77 });
    for (offset, piece, name, many) in [
        (0, ".p", "int", false),
        (8, ".s", "string data", true),
        (16, ".s", "", false),
        (24, ".all", "*int", true),
        (48, ".some", "", false),
        (56, ".some", "int", false),
        (64, ".f", "func main.main.func1", false),
        (72, ".pair[*]", "int", false),
        (80, ".pair[*]", "int", false),
        (88, ".n", "", false),
        (96, "", "", false),
        (u64::MAX, "", "", false),
    ] {
        let want = (piece.to_owned(), name.to_owned(), many);
        for _ in 0..2 {
            assert_eq!(look(&mut types, ty, offset, &words), want, "{offset}");
        }
    }
    let many = types.slot(Label::many(ty), 96 + 24, 0, 0, &words);
    assert_eq!(types.piece(many.piece), "[*].all");
    assert_eq!(types.label_name(many.label(8).unwrap()), "[]*int");
    assert_eq!(types.object(all, 96 * 2), Some(Label::many(ty)));
    assert_eq!(types.object(all, 96 + 8), Some(Label::one(ty)));
    assert_eq!(types.by_descriptor(end + 800), None);
}

/// A map's directory above 512 bytes has the type that it was allocated with in front of it, which knows neither keys nor
/// elements: the map does.
#[test]
fn the_runtimes_type_of_a_table_tells_less_than_the_map() {
    let mut image = Image::default();
    let table = image.descriptor("internal/runtime/maps.table", 25, 32, &[0, 0, 0, 0]);
    let directory = image.descriptor("*internal/runtime/maps.table", 22, 8, &[table]);
    let other = image.descriptor("main.table", 25, 32, &[0, 0, 0, 0]);
    let pointers = image.descriptor("*main.table", 22, 8, &[other]);
    let end = image.here();
    let mut memory = Pieces::new();
    memory.put(START, image.0);
    let mut types = Types::new(sources(&memory, end));
    assert_eq!(types.object(directory, 8 * 128), None);
    assert_eq!(types.object(table, 32), None);
    assert!(
        types
            .object(pointers, 8 * 128)
            .is_some_and(|label| label.many)
    );
    assert!(types.object(other, 32).is_some());
}

/// The word before tells it, if it is a table of methods with the type's own hash.
#[test]
fn an_interface_without_a_type_tells_its_own() {
    let mut image = Image::default();
    let value = image.descriptor("main.T", 25, 32, &[0, 0, 0, 0]);
    let pointer = image.descriptor("*main.T", 22, 8, &[value]);
    let interface = image.descriptor("main.I", 20, 16, &[0, 1, 1]);
    let at = (pointer - START) as usize + 16;
    image.0[at..at + 4].copy_from_slice(&77u32.to_le_bytes());
    let table = image.here();
    image.words(&[interface, pointer, 77, 0]);
    let wrong_hash = image.here();
    image.words(&[interface, pointer, 78, 0]);
    let no_interface = image.here();
    image.words(&[value, pointer, 77, 0]);
    let end = image.here();
    let mut memory = Pieces::new();
    memory.put(START, image.0);
    let mut types = Types::new(sources(&memory, end));
    for (name, word, want) in [
        ("a table", table, Some("main.T")),
        ("another hash", wrong_hash, None),
        ("of no interface", no_interface, None),
        ("a type", pointer, None),
        ("nothing", 0, None),
    ] {
        let words = |at: u64| (at == 0x9000).then_some(word);
        let slot = types.in_interface(0x9008, 0x5000, &words);
        let ty = slot.and_then(|slot| slot.pointee).map(|ty| types.name(ty));
        assert_eq!(ty.as_deref(), want, "{name}");
    }
}

#[test]
fn a_type_made_of_itself_has_a_name_of_bounded_length() {
    let mut image = Image::default();
    image.text("");
    let at = image.here() + 8; // Behind the descriptor's own name.
    let loops = image.descriptor("", 22, 8, &[at]);
    assert_eq!(loops, at);
    // A hundred thousand slices of slices: each names the next.
    let mut next = loops;
    for _ in 0..100_000 {
        next = image.descriptor("", 23, 24, &[next]);
    }
    let mut memory = Pieces::new();
    memory.put(START, image.0);
    // No module: as if `reflect` had made them, so names come from parts.
    let mut types = Types::new(sources(&memory, START));
    let ty = types.by_descriptor(loops).unwrap();
    assert_eq!(&*types.name(ty), "*?");
    let ty = types.by_descriptor(next).unwrap();
    assert_eq!(&*types.name(ty), format!("{}?", "[]".repeat(DEPTH_MAX)));
}

#[test]
fn what_is_no_descriptor_is_no_type() {
    for (name, change, value) in [
        ("kind 0", 23usize, 0u8),
        ("kind 27", 23, 27),
        ("alignment 3", 21, 3),
        ("no alignment", 22, 0),
        ("pointers past the value", 9, 1),
        ("size beyond memory", 7, 1),
    ] {
        let mut image = Image::default();
        let at = image.descriptor("int", 2, 8, &[]);
        image.0[(at - START) as usize + change] = value;
        let end = image.here();
        let mut memory = Pieces::new();
        memory.put(START, image.0);
        let mut types = Types::new(sources(&memory, end));
        assert_eq!(types.by_descriptor(at), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Descriptors whose words lead anywhere: every look ends, and nothing panics.
    #[test]
    fn any_memory_is_survived(
        kinds in prop::collection::vec((1u8..27, 0u64..64, prop::array::uniform4(0u64..64)), 2..40),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
    ) {
        let mut image = Image::default();
        let mut at = Vec::new();
        let stride = 48 + 7 * 8 + 16;
        for (kind, size, tail) in &kinds {
            // Words point at other descriptors, at small numbers or nowhere.
            let word = |word: u64| if word < 40 { START + 16 + (word % kinds.len() as u64) * stride } else { word - 40 };
            let tail = tail.map(word);
            at.push(image.descriptor("main.T[int,string]", *kind, size * 8, &tail));
        }
        for (index, value) in noise {
            let at = index.index(image.0.len());
            image.0[at] = value;
        }
        let end = image.here();
        let mut memory = Pieces::new();
        memory.put(START, image.0);
        for end in [end, START] {
            let mut types = Types::new(sources(&memory, end));
            let words = |addr: u64| (&memory as &dyn Memory).u64(addr).ok();
            for &addr in &at {
                let Some(ty) = types.by_descriptor(addr) else { continue };
                let size = types.size(ty).min(512);
                for offset in (0..size + 8).step_by(8) {
                    for label in [Label::one(ty), Label::many(ty), Label { delta: 24, ..Label::many(ty) }] {
                        let slot = types.slot(label, offset, addr, addr + offset, &words);
                        if let Some(next) = slot.label(8) {
                            types.label_name(next);
                        }
                    }
                }
            }
            prop_assert!(types.len() < 4096, "{} types", types.len());
        }
    }
}

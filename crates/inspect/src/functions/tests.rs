use proptest::prelude::*;

use super::*;
use crate::memory::{Memory, Pieces};

/// Three functions at 0x1000, 0x1010 and 0x1030 to 0x1040; the second has `main.inner` inlined into it.
pub(crate) fn tables() -> Tables {
    let names = b"\0main.a\0main.b\0main.inner\0main.c\0".to_vec();
    let name = |name: &str| find_text(&names, name);
    let files = b"\0/a.go\0/b.go\0".to_vec();
    let file = |name: &str| find_text(&files, name);
    // Offset 1: stack depth 0 for four bytes, then 24. 6: file 0, then file 1. 11: line 7, line 9, line 3.
    // 18: inline entry 0 in bytes 4 to 8.
    let mut pctab = vec![0];
    pctab.extend([2, 4, 48, 28, 0]);
    pctab.extend([2, 4, 2, 28, 0]);
    pctab.extend([16, 4, 4, 4, 11, 24, 0]);
    pctab.extend([0, 4, 2, 4, 1, 24, 0]);
    let mut functions = vec![0; 8];
    let mut ftab = Vec::new();
    let mut add = |entry: u32, record: &[u32], data: &[u32]| {
        ftab.extend(entry.to_le_bytes());
        ftab.extend((functions.len() as u32).to_le_bytes());
        let words = record.iter().chain(data);
        functions.extend(words.flat_map(|word| word.to_le_bytes()));
    };
    // entryoff, nameoff, args, deferreturn, pcsp, pcfile, pcln, npcdata, cuOffset, startLine, four bytes
    add(
        0,
        &[0, name("main.a"), 16, 0, 1, 6, 11, 0, 0, 5, 0x0000_0117],
        &[],
    );
    let counts = 0x0400_0200;
    let record = [0x10, name("main.b"), 0, 9, 1, 6, 11, 3, 0, 1, counts];
    add(0x10, &record, &[0, 0, 18, 0x100, u32::MAX, 0x110, 0x200]);
    add(
        0x30,
        &[0x30, name("main.c"), 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[],
    );
    ftab.extend(0x40_u64.to_le_bytes());
    let cutab = [file("/a.go"), file("/b.go")];
    Tables {
        text: 0x1000,
        min_pc: 0x1000,
        max_pc: 0x1040,
        gofunc: 0x9000,
        quantum: 1,
        cutab: cutab.iter().flat_map(|word| word.to_le_bytes()).collect(),
        names,
        files,
        pctab,
        functions,
        ftab,
    }
}

fn find_text(table: &[u8], text: &str) -> u32 {
    let wanted = [text.as_bytes(), &[0]].concat();
    table
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap() as u32
}

/// The inline tree of `main.b`: one call, from its instruction 0.
fn tree(parent_pc: u32) -> Pieces {
    let name = find_text(&tables().names, "main.inner");
    let mut memory = Pieces::new();
    let words = [5, name, parent_pc, 40];
    let words: Vec<u8> = words
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect();
    memory.put(0x9200, words);
    memory
}

#[test]
fn a_pc_leads_to_its_function() {
    let functions = Functions::new(tables()).unwrap();
    let rows = [
        (0xfff, None),
        (0x1000, Some("main.a")),
        (0x100f, Some("main.a")),
        (0x1010, Some("main.b")),
        (0x102f, Some("main.b")),
        (0x103f, Some("main.c")),
        (0x1040, None),
        (u64::MAX, None),
    ];
    for (pc, want) in rows {
        let name = functions.find(pc).map(|id| functions.name(id));
        assert_eq!(name, want, "{pc:#x}");
    }
    assert_eq!(functions.len(), 3);
    for name in ["main.a", "main.b", "main.c"] {
        let id = functions.by_name(name).unwrap();
        assert_eq!(functions.name(id), name);
    }
    assert_eq!(
        functions.by_name("main.inner"),
        None,
        "has no code of its own"
    );
}

#[test]
fn a_function_tells_what_the_compiler_noted() {
    let functions = Functions::new(tables()).unwrap();
    let [a, b, c] = ["main.a", "main.b", "main.c"].map(|name| functions.by_name(name).unwrap());
    assert_eq!((functions.entry(b), functions.end(b)), (0x1010, 0x1030));
    assert_eq!(
        (functions.func_id(a), functions.flags(a), functions.args(a)),
        (0x17, 1, 16)
    );
    assert_eq!((functions.start_line(a), functions.deferreturn(b)), (5, 9));
    assert_eq!(functions.flags(b), flag::SP_WRITE);
    assert_eq!(functions.sp_delta(a, 0x1003), Some(0));
    assert_eq!(functions.sp_delta(a, 0x1004), Some(24));
    assert_eq!(functions.sp_delta(a, 0xfff), None, "before the function");
    assert_eq!(functions.sp_delta(c, 0x1030), None, "no table");
    assert_eq!(functions.file_line(b, 0x1010), ("/a.go", 7));
    assert_eq!(functions.file_line(b, 0x1014), ("/b.go", 9));
    assert_eq!(functions.file_line(b, 0x1020), ("/b.go", 3));
    assert_eq!(functions.file_line(c, 0x1030), ("?", 0));
    assert_eq!(functions.pcdata(b, pcdata::INLINE_INDEX, 0x1014), 0);
    assert_eq!(
        functions.pcdata(b, pcdata::STACK_MAP_INDEX, 0x1014),
        -1,
        "no table"
    );
    assert_eq!(functions.pcdata(b, 3, 0x1014), -1, "past the tables");
    let data = [0, 1, 2, 3, 4].map(|index| functions.funcdata(b, index));
    assert_eq!(data, [Some(0x9100), None, Some(0x9110), Some(0x9200), None]);
}

#[test]
fn inlined_calls_come_first_and_a_cycle_ends() {
    let functions = Functions::new(tables()).unwrap();
    let b = functions.by_name("main.b").unwrap();
    let names = |memory: &Pieces, pc| -> Vec<(String, u32, bool)> {
        let sources = functions.sources(memory, b, pc);
        sources
            .map(|source| (source.function.to_owned(), source.line, source.inlined))
            .collect()
    };
    let outer = |line| ("main.b".to_owned(), line, false);
    let inner = ("main.inner".to_owned(), 9, true);
    assert_eq!(names(&tree(0), 0x1010), [outer(7)]);
    assert_eq!(names(&tree(0), 0x1015), [inner.clone(), outer(7)]);
    assert_eq!(
        names(&Pieces::new(), 0x1015),
        [outer(9)],
        "a tree that cannot be read"
    );
    assert_eq!(
        names(&tree(u32::MAX), 0x1015).len(),
        2,
        "a caller outside the function"
    );
    let cycle = names(&tree(4), 0x1015);
    assert_eq!(cycle.len(), crate::limits::INLINE_DEPTH_MAX + 1);
    assert_eq!(cycle.last(), Some(&outer(9)));
}

#[test]
fn broken_tables_are_refused() {
    let mut rows: Vec<(&str, Tables)> = Vec::new();
    let mut add = |name, change: &dyn Fn(&mut Tables)| {
        let mut tables = tables();
        change(&mut tables);
        rows.push((name, tables));
    };
    add("no quantum", &|tables| tables.quantum = 0);
    add("no function", &|tables| tables.ftab.truncate(8));
    add("no table", &|tables| tables.ftab.clear());
    add("descending", &|tables| tables.ftab[8] = 0x38);
    add("other text", &|tables| tables.text = 0x2000);
    add("text past the address space", &|tables| {
        tables.text = u64::MAX
    });
    add("other end", &|tables| tables.max_pc = 0x1041);
    for (name, tables) in rows {
        let error = Functions::new(tables).unwrap_err();
        assert!(
            matches!(error, InspectError::Malformed { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn names_without_end_or_not_text_are_empty() {
    let mut tables = tables();
    tables.names = b"\0main.a\0\xff\xfe\0main.z".to_vec();
    for (id, offset) in [(0, 1), (1, 8), (2, 11)] {
        let record = le32(&tables.ftab, id * 8 + 4) as usize;
        tables.functions[record + 4] = offset;
    }
    let functions = Functions::new(tables).unwrap();
    let names: Vec<&str> = functions.ids().map(|id| functions.name(id)).collect();
    assert_eq!(names, ["main.a", "", ""], "not UTF-8, and without a NUL");
}

fn ask_everything(functions: &Functions, memory: &dyn Memory, pc: u64) {
    let found = functions.find(pc);
    for id in found
        .into_iter()
        .chain([FunctionId(0), FunctionId(u32::MAX)])
    {
        let _ = (
            functions.entry(id),
            functions.end(id),
            functions.name(id),
            functions.args(id),
        );
        let _ = (
            functions.func_id(id),
            functions.flags(id),
            functions.sp_delta(id, pc),
        );
        let _ = (functions.start_line(id), functions.deferreturn(id));
        for index in [0, 1, 2, 3, 200, u32::MAX] {
            let _ = (
                functions.pcdata(id, index, pc),
                functions.funcdata(id, index),
            );
        }
        assert!(functions.sources(memory, id, pc).count() <= crate::limits::INLINE_DEPTH_MAX + 1);
        let _ = functions.by_name(functions.name(id));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 6),
        entries in prop::collection::btree_set(any::<u32>(), 2..20),
        text in any::<u64>(),
        gofunc in any::<u64>(),
        pcs in prop::collection::vec(any::<u32>(), 1..20),
    ) {
        let mut ftab = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            ftab.extend(entry.to_le_bytes());
            ftab.extend(parts[5].get(at).copied().map_or(0, u32::from).to_le_bytes());
        }
        let entries: Vec<u64> = entries.into_iter().map(u64::from).collect();
        let functions = Functions::new(Tables {
            text,
            min_pc: text.wrapping_add(entries[0]),
            max_pc: text.wrapping_add(entries[entries.len() - 1]),
            gofunc,
            quantum: 1,
            names: parts[0].clone(),
            cutab: parts[1].clone(),
            files: parts[2].clone(),
            pctab: parts[3].clone(),
            functions: parts[4].clone(),
            ftab,
        });
        let Ok(functions) = functions else { return Ok(()) };
        let mut memory = Pieces::new();
        memory.put(gofunc, vec![1; 64]);
        for pc in pcs {
            ask_everything(&functions, &memory, text.wrapping_add(pc.into()));
        }
    }

    #[test]
    fn bytes_put_into_good_tables_make_no_panic(
        changes in prop::collection::vec((0..5_usize, any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let mut tables = tables();
        for (part, at, byte) in changes {
            let part = match part {
                0 => &mut tables.names,
                1 => &mut tables.cutab,
                2 => &mut tables.files,
                3 => &mut tables.pctab,
                _ => &mut tables.functions,
            };
            let at = at.index(part.len());
            part[at] = byte;
        }
        let functions = Functions::new(tables).unwrap();
        for pc in 0x1000..0x1040 {
            ask_everything(&functions, &tree(0), pc);
        }
    }
}

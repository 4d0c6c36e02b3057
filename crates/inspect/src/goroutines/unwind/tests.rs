use super::*;
use crate::functions::Tables;
use crate::functions::tests::tables;

/// `main.a` is a stack's outermost function and moves its stack pointer by 24 after four bytes. `main.b` does the
/// same, and writes it in other ways if `switches`. `main.c` has no table.
fn functions(quantum: u8, switches: bool) -> Functions {
    let mut tables = Tables {
        quantum,
        ..tables()
    };
    let entries: Vec<u32> = [0, 0x10, 0x30, 0x40]
        .iter()
        .map(|at| at * u32::from(quantum))
        .collect();
    for (at, entry) in entries.iter().enumerate() {
        tables.ftab[at * 8..at * 8 + 4].copy_from_slice(&entry.to_le_bytes());
    }
    tables.max_pc = tables.text + u64::from(entries[3]);
    if !switches {
        let record = le64(&tables.ftab, 8) >> 32;
        tables.functions[record as usize + 41] = 0;
    }
    Functions::new(tables).unwrap()
}

fn unwind(functions: &Functions, start: Start, words: &[u64]) -> (Vec<(u64, u64, u64)>, End) {
    let code = Code::new(vec![functions], functions.quantum() == 4);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let stack = StackBytes {
        base: 0x8000,
        bytes: &bytes,
    };
    let mut frames = Vec::new();
    let end = Unwinder::new(&code).unwind(start, stack, 4, &mut frames);
    (
        frames
            .iter()
            .map(|frame| (frame.pc, frame.call_pc, frame.fp))
            .collect(),
        end,
    )
}

fn at(pc: u64) -> Start {
    Start {
        pc,
        sp: 0x8000,
        lr: 0,
        in_syscall: false,
        trap: false,
    }
}

#[test]
fn frames_follow_the_stack_pointer() {
    let plain = functions(1, false);
    let (a, b) = ((0x1008, 0x1007), (0x1018, 0x1017));
    let trap = Start {
        trap: true,
        ..at(0x1018)
    };
    // 24 bytes of a frame, then the return address.
    let stack = [1, 2, 3, 0x1008, 4, 5, 6, 7];
    let rows = [
        (
            "two frames",
            at(0x1018),
            vec![(b.0, b.1, 0x8020), (a.0, a.1, 0x8040)],
            End::Top,
        ),
        (
            "before the frame is made",
            at(0x1010),
            vec![(0x1010, 0x1010, 0x8008)],
            End::Foreign,
        ),
        (
            "a signal",
            trap,
            vec![(b.0, b.0, 0x8020), (a.0, a.1, 0x8040)],
            End::Top,
        ),
        (
            "a function without a table",
            at(0x1030),
            vec![],
            End::Foreign,
        ),
        ("no function", at(0x5000), vec![], End::Foreign),
        ("past all functions", at(u64::MAX), vec![], End::Foreign),
    ];
    for (name, start, frames, end) in rows {
        assert_eq!(unwind(&plain, start, &stack), (frames, end), "{name}");
    }
}

#[test]
fn a_call_of_nil_begins_with_its_caller() {
    let stack = [0x1018, 1, 2, 3, 0x1008];
    let (frames, end) = unwind(&functions(1, false), at(0), &stack);
    assert_eq!((frames[0], end), ((0x1018, 0x1017, 0x8028), End::Top));
}

#[test]
fn broken_stacks_end() {
    let plain = functions(1, false);
    let b = (0x1018, 0x1017, 0x8020);
    let recursion: Vec<u64> = [1, 2, 3, 0x1018].repeat(10);
    type Row<'a> = (&'a str, &'a [u64], Vec<(u64, u64, u64)>, End);
    let rows: [Row<'_>; 5] = [
        (
            "cut before the return address",
            &[1, 2, 3],
            vec![b],
            End::Broken,
        ),
        ("no stack", &[], vec![b], End::Broken),
        ("zero", &[1, 2, 3, 0], vec![b], End::Broken),
        ("into nowhere", &[1, 2, 3, 0x99], vec![b], End::Foreign),
        (
            "deeper than asked for",
            &recursion,
            (1..=4)
                .map(|depth| (b.0, b.1, 0x8000 + depth * 0x20))
                .collect(),
            End::TooDeep,
        ),
    ];
    for (name, stack, frames, end) in rows {
        assert_eq!(unwind(&plain, at(0x1018), stack), (frames, end), "{name}");
    }
    let high = Start {
        sp: u64::MAX - 8,
        ..at(0x1018)
    };
    assert_eq!(
        unwind(&plain, high, &[1]),
        (vec![], End::Broken),
        "past the address space"
    );
}

#[test]
fn a_function_that_switches_stacks_is_only_passed_innermost() {
    let switches = functions(1, true);
    let b = |depth: u64| (0x1018, 0x1017, 0x8000 + depth * 0x20);
    let once = [1, 2, 3, 0x1008, 1, 2, 3, 4];
    assert_eq!(unwind(&switches, at(0x1018), &once).1, End::Top);
    let twice = [1, 2, 3, 0x1018, 1, 2, 3, 0x1008];
    assert_eq!(
        unwind(&switches, at(0x1018), &twice),
        (vec![b(1), b(2)], End::StackSwitch)
    );
}

#[test]
fn a_link_register_holds_the_newest_return_address() {
    // Quanta of four bytes: `main.b` at 0x1040, its frame made from 0x1050 on.
    let functions = functions(4, false);
    let start = |pc, lr| Start { lr, ..at(pc) };
    let leaf = unwind(&functions, start(0x1044, 0x1020), &[9; 4]);
    assert_eq!(
        leaf,
        (
            vec![(0x1044, 0x1043, 0x8000), (0x1020, 0x101f, 0x8018)],
            End::Top
        )
    );
    // With a frame, the return address lies at its bottom.
    let framed = unwind(&functions, start(0x1060, 0x9999), &[0x1020, 1, 2, 3]);
    assert_eq!(
        framed,
        (
            vec![(0x1060, 0x105f, 0x8018), (0x1020, 0x101f, 0x8030)],
            End::Top
        )
    );
}

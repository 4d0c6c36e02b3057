//! Arrays in programs without symbols: pointers at equal distances that code reaches by one address are elements of one
//! variable, and one line.

use std::collections::HashMap;

use super::Taken;
use super::users::Users;
use crate::Program;
use crate::roots::Global;

/// Pointers of one element.
const POINTERS_MAX: usize = 4;
/// Elements that make an array.
const ELEMENTS_MIN: usize = 3;
/// Bytes of one element, and how far before the first pointer the variable may begin.
const ELEMENT_BYTES_MAX: u64 = 4096;
/// Arrays whose beginnings are looked for.
const ARRAYS_MAX: usize = 1024;

/// A variable that is an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// `bss+0x1640[*]`.
    pub(super) name: String,
    /// Where the array begins, as far as code tells.
    pub(super) base: u64,
}

/// The elements among the variables without a name, by their place, and who uses all of these variables.
pub(super) fn find(program: &Program, taken: &Taken) -> (HashMap<usize, Element>, Users) {
    let globals = &taken.roots.globals.all;
    let mut unnamed: Vec<usize> = (0..globals.len())
        .filter(|&at| !globals[at].is_named)
        .collect();
    unnamed.sort_unstable_by_key(|&at| globals[at].addr);
    let addrs: Vec<u64> = unnamed.iter().map(|&at| globals[at].addr).collect();
    let starts = runs(&addrs, |_| false).into_iter().take(ARRAYS_MAX);
    let before = starts.flat_map(|(from, _)| beginnings(addrs[from]));
    let users = Users::find(program, addrs.iter().copied().chain(before));
    let mut elements = HashMap::new();
    for (from, to) in runs(&addrs, |addr| users.has(addr)) {
        let first = &globals[unnamed[from]];
        let base = beginnings(first.addr).find(|&addr| users.has(addr));
        let base = base.unwrap_or(first.addr);
        let element = Element {
            name: format!("{}[*]", name_at(first, base)),
            base,
        };
        elements.extend(unnamed[from..to].iter().map(|&at| (at, element.clone())));
    }
    (elements, users)
}

/// Where a variable that has this pointer in its first element may begin, the nearest first.
fn beginnings(addr: u64) -> impl Iterator<Item = u64> {
    (0..ELEMENT_BYTES_MAX / 8).map(move |words| addr.saturating_sub(8 * words))
}

/// `bss+0x1648` for what lies some bytes before it.
fn name_at(global: &Global, addr: u64) -> String {
    let parsed = global.name.rsplit_once("+0x").and_then(|(section, at)| {
        let at = u64::from_str_radix(at, 16).ok()?;
        Some((section, at.checked_sub(global.addr - addr)?))
    });
    match parsed {
        Some((section, at)) => format!("{section}+{at:#x}"),
        None => global.name.to_string(),
    }
}

/// The stretches of sorted addresses that repeat at one distance, none of which but those of the first element is
/// `mentioned`: from and up to.
fn runs(addrs: &[u64], mentioned: impl Fn(u64) -> bool) -> Vec<(usize, usize)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while from < addrs.len() {
        let best = (1..=POINTERS_MAX)
            .map(|pointers| (repeats(&addrs[from..], pointers, &mentioned), pointers))
            .filter(|&(len, pointers)| len >= pointers * ELEMENTS_MIN)
            .max_by_key(|&(len, pointers)| (len, std::cmp::Reverse(pointers)));
        match best {
            Some((len, _)) => {
                found.push((from, from + len));
                from += len;
            }
            None => from += 1,
        }
    }
    found
}

/// How many addresses from the first on repeat with so many for each element.
fn repeats(addrs: &[u64], pointers: usize, mentioned: impl Fn(u64) -> bool) -> usize {
    let Some(distance) = addrs.get(pointers).map(|next| next - addrs[0]) else {
        return 0;
    };
    if distance > ELEMENT_BYTES_MAX {
        return 0;
    }
    let same = |at: usize| addrs[at] - addrs[at - pointers] == distance && !mentioned(addrs[at]);
    let len = (pointers..addrs.len()).find(|&at| !same(at));
    let len = len.unwrap_or(addrs.len());
    len - len % pointers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, addresses, those mentioned, and the runs.
    type Row = (
        &'static str,
        &'static [u64],
        &'static [u64],
        &'static [(usize, usize)],
    );

    #[test]
    fn what_repeats_is_one_run() {
        let rows: &[Row] = &[
            ("an array of maps", &[8, 24, 40, 56, 500], &[], &[(0, 4)]),
            ("two pointers each", &[0, 8, 32, 40, 64, 72], &[], &[(0, 6)]),
            ("two are no array", &[0, 16, 100], &[], &[]),
            ("used by themselves", &[0, 8, 16, 24], &[8, 16, 24], &[]),
            ("the first is used", &[0, 8, 16, 24], &[0], &[(0, 4)]),
            (
                "another begins",
                &[0, 8, 16, 24, 32, 40],
                &[24],
                &[(0, 3), (3, 6)],
            ),
            ("far apart", &[0, 5000, 10_000, 15_000], &[], &[]),
            ("nothing", &[], &[], &[]),
        ];
        for (name, addrs, mentioned, want) in rows {
            let found = runs(addrs, |addr| mentioned.contains(&addr));
            assert_eq!(&found, want, "{name}");
        }
    }

    #[test]
    fn an_array_is_called_after_its_beginning() {
        let global = |name: &str| Global {
            name: name.into(),
            addr: 0x51_0648,
            bytes: 8,
            ty: None,
            is_named: false,
        };
        for (name, want) in [
            ("bss+0x648", "bss+0x640"),
            ("plugin 1 data+0x10", "plugin 1 data+0x8"),
            ("bss+0x0", "bss+0x0"),
        ] {
            assert_eq!(name_at(&global(name), 0x51_0640), want);
        }
    }
}

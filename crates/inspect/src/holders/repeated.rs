//! Arrays in programs without symbols: pointers at equal distances that code reaches by one address are elements of one
//! variable, and one line.

use std::collections::HashMap;

use super::Taken;
use super::users::Users;
use crate::Program;
use crate::roots::Global;

/// Pointers of one element.
const POINTERS_MAX: usize = 16;
/// Elements that make an array when all their places have pointers, and when some are nil.
const ELEMENTS_MIN: u64 = 3;
const SPARSE_ELEMENTS_MIN: u64 = 6;
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
    let mut variables: Vec<(u64, u64)> = addrs.iter().map(|&addr| (addr, 0)).collect();
    for (from, _) in runs(&addrs, |_| false).into_iter().take(ARRAYS_MAX) {
        variables[from].1 = ELEMENT_BYTES_MAX;
    }
    let users = Users::find(program, &variables);
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
        let first = addrs[from];
        let others = addrs[from + 1..].iter().take(POINTERS_MAX);
        let distances = others.map(|addr| addr - first);
        let longest = distances
            .take_while(|&distance| distance <= ELEMENT_BYTES_MAX)
            .map(|distance| (repeats(&addrs[from..], distance, &mentioned), distance))
            .max_by_key(|&(len, distance)| (len, std::cmp::Reverse(distance)));
        match longest {
            Some((len, _)) if len > 0 => {
                found.push((from, from + len));
                from += len;
            }
            _ => from += 1,
        }
    }
    found
}

/// How many addresses from the first on are pointers of elements so many bytes long; zero when too few elements come
/// of it. Pointers that are nil are not among the addresses: of the places of an element that ever hold one, the first
/// must in each, and more than half of all together.
fn repeats(addrs: &[u64], distance: u64, mentioned: impl Fn(u64) -> bool) -> usize {
    // Each place with the number of elements that have a pointer there.
    let mut places: Vec<(u64, usize)> = Vec::new();
    let (mut elements, mut begun, mut len) = (0u64, 0, 0);
    let is_array = |places: usize, elements: u64, len: usize| {
        let (all, len) = (places as u64 * elements, len as u64);
        let is_sparse = elements >= SPARSE_ELEMENTS_MIN && 2 * len > all;
        is_sparse || (elements >= ELEMENTS_MIN && len == all)
    };
    for (at, &addr) in addrs.iter().enumerate() {
        let (element, place) = ((addr - addrs[0]) / distance, (addr - addrs[0]) % distance);
        let is_new = element == elements;
        if element > elements || (is_new && place != 0) {
            break;
        }
        if element > 0 && mentioned(addr) {
            // Another variable begins here: inside of an element, that is none.
            let is_inside = !is_new;
            (elements, len) = match is_inside {
                true => (elements - 1, begun),
                false => (elements, len),
            };
            break;
        }
        if is_new {
            (elements, begun) = (elements + 1, at);
        }
        let is_full = places.len() == POINTERS_MAX;
        match places.iter_mut().find(|known| known.0 == place) {
            Some(known) => known.1 += 1,
            None if is_full => return 0,
            None => places.push((place, 1)),
        }
        len = at + 1;
        if elements > 64 && !is_array(places.len(), elements, len) {
            return 0;
        }
    }
    // What only the last one has lies behind the array.
    let is_single = |addr: u64| places.contains(&((addr - addrs[0]) % distance, 1));
    let mut count = places.len();
    while len > begun + 1 && is_single(addrs[len - 1]) {
        (len, count) = (len - 1, count - 1);
    }
    match is_array(count, elements, len) {
        true => len,
        false => 0,
    }
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
            (
                "some are nil",
                &[
                    0, 8, 64, 72, 112, 128, 136, 192, 200, 240, 256, 264, 320, 328,
                ],
                &[8],
                &[(0, 14)],
            ),
            (
                "mostly nil",
                &[0, 8, 64, 80, 128, 152, 192, 240, 256, 320],
                &[],
                &[],
            ),
            (
                "what follows is no part of it",
                &[0, 64, 128, 136, 144],
                &[],
                &[(0, 3)],
            ),
            (
                "another begins inside the last",
                &[0, 8, 64, 72, 128, 136, 192, 200],
                &[200],
                &[(0, 6)],
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

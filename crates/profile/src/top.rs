//! `go tool pprof -top`: functions by their own and their cumulative value.
//!
//! Rules, rounding and text are pprof's (its packages `report` and `graph`, at function
//! granularity): functions of one name are one row; a function counts once per stack however often
//! it recurs; rows whose cumulative value is below a share of the total are dropped; percentages
//! are of the sum of all samples' absolute values.

use crate::data::NO_MAPPING;
use crate::frame::base_name;
use crate::table::{Slices, Table};
use crate::units::{percentage, scale, scaled_label};
use crate::{Profile, SampleType};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt::Write;

/// What [`top`] shows, with pprof's names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct TopOptions {
    /// Rows at most; 0 for all, which is `-top`'s default.
    pub node_count: usize,
    /// Rows with a smaller cumulative share of the total are dropped.
    pub node_fraction: f64,
    /// Calls with a smaller share do not decide whether a row is marked as inlined.
    pub edge_fraction: f64,
    /// The order of rows.
    pub sort: Sort,
}

impl Default for TopOptions {
    fn default() -> Self {
        Self {
            node_count: 0,
            node_fraction: 0.005,
            edge_fraction: 0.001,
            sort: Sort::Flat,
        }
    }
}

/// The order of rows: by absolute value, then by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// By the function's own value.
    Flat,
    /// By the value of the function and all it called.
    Cum,
}

/// Whether a function's calls were inlined into their callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inline {
    /// None was, as far as the samples show.
    No,
    /// Some were: `(partial-inline)`.
    Partial,
    /// All were: `(inline)`.
    Yes,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Row<'a> {
    /// Its name; `[binary]` or `<unknown>` where there are no symbols.
    pub function: Cow<'a, str>,
    /// Whether it was inlined.
    pub inline: Inline,
    /// Its own value, in the sample type's unit.
    pub flat: i64,
    /// The own values of this row and of all before it.
    pub flat_sum: i64,
    /// The value of it and all it called.
    pub cum: i64,
}

/// A report of one sample type.
#[derive(Clone, Debug)]
pub struct Top<'a> {
    /// The rows in order.
    pub rows: Vec<Row<'a>>,
    /// The sum of all samples' absolute values: what percentages are of.
    pub total: i64,
    /// Rows dropped for their small cumulative value.
    pub dropped: usize,
    /// Rows there were before `node_count` cut them.
    pub found: usize,
    /// What is reported.
    pub sample_type: SampleType<'a>,
    /// The unit that [`Self::render`] prints values in, as pprof would choose it.
    pub output_unit: String,
    node_fraction: f64,
    profile: &'a Profile,
}

/// Sums a profile by function for the sample type at `sample_type` (see
/// [`Profile::sample_type_index`]); a report of nothing if there is no such sample type.
///
/// Cost: two walks over all stacks at a few nanoseconds a frame; memory by function.
pub fn top<'a>(profile: &'a Profile, sample_type: usize, options: &TopOptions) -> Top<'a> {
    let nodes = Nodes::new(profile);
    let has_type = sample_type < profile.sample_types.len();
    let sums = if has_type {
        nodes.sum(profile, sample_type)
    } else {
        Sums::new(nodes.len())
    };
    let flat_total = sums
        .flat
        .iter()
        .fold(0i64, |sum, &flat| sum.saturating_add(flat));
    let cutoff = |fraction: f64| ((flat_total as f64 * fraction) as i64).unsigned_abs();
    let node_cutoff = cutoff(options.node_fraction);

    let all: Vec<u32> = (0..nodes.len() as u32)
        .filter(|&node| sums.flat[node as usize] != 0 || sums.cum[node as usize] != 0)
        .collect();
    let mut kept = all.clone();
    kept.retain(|&node| sums.cum[node as usize].unsigned_abs() >= node_cutoff);
    let (dropped, found) = (all.len() - kept.len(), kept.len());
    let names: Vec<Cow<'a, str>> = kept.iter().map(|&node| nodes.name(profile, node)).collect();
    let mut rows: Vec<(u32, Cow<'a, str>)> = kept.into_iter().zip(names).collect();
    rows.sort_by(|(a, a_name), (b, b_name)| {
        let size = |of: &[i64], node: u32| Reverse(of[node as usize].unsigned_abs());
        let (first, last) = match options.sort {
            Sort::Flat => (&sums.flat, &sums.cum),
            Sort::Cum => (&sums.cum, &sums.flat),
        };
        let by_first = size(first, *a).cmp(&size(first, *b));
        by_first
            .then_with(|| a_name.cmp(b_name))
            .then(size(last, *a).cmp(&size(last, *b)))
    });
    if options.node_count > 0 {
        rows.truncate(options.node_count);
    }
    let shown: Vec<u32> = rows.iter().map(|&(node, _)| node).collect();
    let inline = if has_type {
        nodes.inline(profile, sample_type, &shown, cutoff(options.edge_fraction))
    } else {
        Vec::new()
    };
    let mut flat_sum = 0i64;
    let rows: Vec<Row<'a>> = rows
        .into_iter()
        .map(|(node, function)| {
            let (flat, cum) = (sums.flat[node as usize], sums.cum[node as usize]);
            flat_sum = flat_sum.saturating_add(flat);
            Row {
                function,
                inline: inline[node as usize],
                flat,
                flat_sum,
                cum,
            }
        })
        .collect();
    let of = profile.sample_type(sample_type);
    let output_unit = output_unit(&rows, sums.total, of.unit);
    let node_fraction = options.node_fraction;
    Top {
        rows,
        total: sums.total,
        dropped,
        found,
        sample_type: of,
        output_unit,
        node_fraction,
        profile,
    }
}

/// The unit for the smallest value shown; one for a hundred times as much if the total is so large
/// that it would be printed in another.
fn output_unit(rows: &[Row<'_>], total: i64, unit: &str) -> String {
    if rows.is_empty() {
        return "minimum".to_owned();
    }
    let sizes = rows.iter().filter_map(|row| {
        let size = if row.flat != 0 { row.flat } else { row.cum };
        Some(size.saturating_abs()).filter(|&size| size > 0)
    });
    let smallest = sizes.min().unwrap_or(total);
    let auto = |value| scale(value, unit, "minimum").1;
    let chosen = if auto(smallest) != auto(total) && smallest.saturating_mul(100) < total {
        auto(smallest.saturating_mul(100))
    } else {
        auto(smallest)
    };
    if chosen.is_empty() {
        unit.to_owned()
    } else {
        chosen.to_owned()
    }
}

/// The functions of a profile, numbered by what pprof counts as one function.
struct Nodes {
    /// Per location where its part of `of_frame` starts and ends, side by side for the cache.
    ranges: Vec<(u32, u32)>,
    /// A location's functions, leaf first.
    of_frame: Vec<u32>,
    /// Per function: its name, and where that is empty its binary and first line.
    keys: Slices,
}

/// Values per function.
struct Sums {
    flat: Vec<i64>,
    cum: Vec<i64>,
    total: i64,
}

impl Sums {
    fn new(len: usize) -> Self {
        Self {
            flat: vec![0; len],
            cum: vec![0; len],
            total: 0,
        }
    }
}

impl Nodes {
    fn new(profile: &Profile) -> Self {
        let mut nodes = Self {
            ranges: Vec::new(),
            of_frame: Vec::new(),
            keys: Slices::default(),
        };
        nodes.ranges.reserve(profile.locations.len());
        nodes.of_frame.reserve(profile.lines.len());
        let mut by_name = vec![u32::MAX; profile.strings.len()];
        for (index, location) in profile.locations.iter().enumerate() {
            let binary = match location.mapping {
                NO_MAPPING => 0,
                mapping => profile.mappings[mapping as usize].filename,
            };
            let lines = profile.location_lines(index);
            let start = nodes.of_frame.len() as u32;
            if lines.is_empty() {
                nodes.of_frame.push(nodes.keys.intern(&[0, binary, 0, 0]).0);
            }
            for line in lines {
                let function = &profile.functions[line.function as usize];
                let known = &mut by_name[function.name as usize];
                let node = if function.name == 0 {
                    let start = function.start_line as u64;
                    nodes
                        .keys
                        .intern(&[0, binary, start as u32, (start >> 32) as u32])
                        .0
                } else if *known == u32::MAX {
                    *known = nodes.keys.intern(&[function.name]).0;
                    *known
                } else {
                    *known
                };
                nodes.of_frame.push(node);
            }
            nodes.ranges.push((start, nodes.of_frame.len() as u32));
        }
        nodes
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn name<'a>(&self, profile: &'a Profile, node: u32) -> Cow<'a, str> {
        let key = self.keys.get(node);
        match (key[0], key.get(1)) {
            (0, Some(&binary)) if binary != 0 => {
                Cow::Owned(format!("[{}]", base_name(profile.strings.get(binary))))
            }
            (0, _) => Cow::Borrowed("<unknown>"),
            (name, _) => Cow::Borrowed(profile.strings.get(name)),
        }
    }

    fn of_location(&self, location: u32) -> &[u32] {
        let (start, end) = self.ranges[location as usize];
        &self.of_frame[start as usize..end as usize]
    }

    fn sum(&self, profile: &Profile, sample_type: usize) -> Sums {
        let mut sums = Sums::new(self.len());
        // Per function the last sample (plus one) that it was counted for, and its sum.
        let mut counted = vec![(0u32, 0i64); self.len()];
        for sample in 0..profile.samples_len() {
            let value = profile.value(sample, sample_type);
            if value == 0 {
                continue;
            }
            sums.total = sums.total.saturating_add(value.saturating_abs());
            let stack = profile.stack_locations(sample);
            for &location in stack {
                for &node in self.of_location(location) {
                    let (seen, cum) = &mut counted[node as usize];
                    if *seen != sample as u32 + 1 {
                        *seen = sample as u32 + 1;
                        *cum = cum.saturating_add(value);
                    }
                }
            }
            if let Some(&leaf) = stack
                .first()
                .and_then(|&leaf| self.of_location(leaf).first())
            {
                let flat = &mut sums.flat[leaf as usize];
                *flat = flat.saturating_add(value);
            }
        }
        sums.cum = counted.into_iter().map(|(_, cum)| cum).collect();
        sums
    }

    /// Per function whether its shown callers inlined it. Only functions that are inlined somewhere
    /// can be marked, so only calls of those are summed.
    fn inline(
        &self,
        profile: &Profile,
        sample_type: usize,
        shown: &[u32],
        edge_cutoff: u64,
    ) -> Vec<Inline> {
        const SHOWN: u8 = 1;
        const INLINED: u8 = 2;
        let mut flags = vec![0u8; self.len()];
        shown.iter().for_each(|&node| flags[node as usize] |= SHOWN);
        for location in 0..profile.locations.len() as u32 {
            if let [inlined @ .., _] = self.of_location(location) {
                inlined
                    .iter()
                    .for_each(|&node| flags[node as usize] |= INLINED);
            }
        }
        let mut edges = Edges::new(self.len());
        for sample in 0..profile.samples_len() {
            let value = profile.value(sample, sample_type);
            if value == 0 {
                continue;
            }
            let mut parent = None;
            for &location in profile.stack_locations(sample).iter().rev() {
                let nodes = self.of_location(location);
                for (depth, &node) in nodes.iter().enumerate().rev() {
                    let flags = flags[node as usize];
                    if flags & SHOWN == 0 {
                        continue;
                    }
                    let caller = parent.replace(node).filter(|&caller| caller != node);
                    if let Some(caller) = caller.filter(|_| flags & INLINED != 0) {
                        edges.add(caller, node, value, sample as u32, depth + 1 != nodes.len());
                    }
                }
            }
        }
        edges.marks(self.len(), edge_cutoff)
    }
}

/// Calls between functions.
struct Edges {
    table: Table,
    edges: Vec<Edge>,
    /// Per callee its last edge: most calls come from the usual caller, and need no look-up.
    usual: Vec<u32>,
}

struct Edge {
    caller: u32,
    callee: u32,
    weight: i64,
    /// The last sample that counted it: recursion counts once.
    sample: Option<u32>,
    inline: bool,
}

impl Edges {
    fn new(nodes: usize) -> Self {
        Self {
            table: Table::default(),
            edges: Vec::new(),
            usual: vec![u32::MAX; nodes],
        }
    }

    fn add(&mut self, caller: u32, callee: u32, weight: i64, sample: u32, inline: bool) {
        let usual = self.usual[callee as usize];
        let at = match self.edges.get(usual as usize) {
            Some(edge) if edge.caller == caller => usual as usize,
            _ => self.find_or_insert(caller, callee),
        };
        let edge = &mut self.edges[at];
        if edge.sample != Some(sample) {
            edge.sample = Some(sample);
            edge.weight = edge.weight.saturating_add(weight);
            edge.inline &= inline;
        }
    }

    fn find_or_insert(&mut self, caller: u32, callee: u32) -> usize {
        let edges = &mut self.edges;
        let hash = crate::table::hash_slice(&[caller, callee]);
        let same = |at: u32| {
            let edge = &edges[at as usize];
            edge.caller == caller && edge.callee == callee
        };
        let at = match self.table.find_or_insert(hash, same) {
            crate::table::Entry::Found(at) => at,
            crate::table::Entry::New(at) => {
                edges.push(Edge {
                    caller,
                    callee,
                    weight: 0,
                    sample: None,
                    inline: true,
                });
                at
            }
        };
        self.usual[callee as usize] = at;
        at as usize
    }

    fn marks(&self, nodes: usize, cutoff: u64) -> Vec<Inline> {
        let mut seen = vec![(false, false); nodes];
        for edge in self
            .edges
            .iter()
            .filter(|edge| edge.weight.unsigned_abs() >= cutoff)
        {
            let (inline, called) = &mut seen[edge.callee as usize];
            *inline |= edge.inline;
            *called |= !edge.inline;
        }
        let mark = |(inline, called)| match (inline, called) {
            (false, _) => Inline::No,
            (true, true) => Inline::Partial,
            (true, false) => Inline::Yes,
        };
        seen.into_iter().map(mark).collect()
    }
}

impl Top<'_> {
    /// The report as `go tool pprof -top` prints it, its header included; times are in UTC.
    pub fn render(&self) -> String {
        let mut out = self.header();
        let label = |value| scaled_label(value, self.sample_type.unit, &self.output_unit);
        out.push_str("      flat  flat%   sum%        cum   cum%\n");
        for row in &self.rows {
            let mark = match row.inline {
                Inline::No => "",
                Inline::Partial => " (partial-inline)",
                Inline::Yes => " (inline)",
            };
            let _ = writeln!(
                out,
                "{:>10} {} {} {:>10} {}  {}{mark}",
                label(row.flat),
                percentage(row.flat, self.total),
                percentage(row.flat_sum, self.total),
                label(row.cum),
                percentage(row.cum, self.total),
                row.function,
            );
        }
        out
    }

    fn header(&self) -> String {
        let label = |value| scaled_label(value, self.sample_type.unit, &self.output_unit);
        let (profile, total) = (self.profile, self.total);
        let mut lines = Vec::new();
        if let Some(program) = profile.mappings().next() {
            if !program.file.is_empty() {
                lines.push(format!("File: {}", base_name(program.file)));
            }
            if !program.build_id.is_empty() {
                lines.push(format!("Build ID: {}", program.build_id));
            }
        }
        let comments = profile
            .comments()
            .filter(|comment| !comment.starts_with('#'));
        lines.extend(comments.map(str::to_owned));
        if !self.sample_type.name.is_empty() {
            lines.push(format!("Type: {}", self.sample_type.name));
        }
        if !profile.doc_url().is_empty() {
            lines.push(format!("Doc: {}", profile.doc_url()));
        }
        if profile.time_nanos() != 0 {
            lines.push(format!("Time: {} UTC", utc(profile.time_nanos())));
        }
        if profile.duration_nanos() != 0 {
            let duration = scaled_label(profile.duration_nanos(), "nanoseconds", "auto");
            let (nanos, unit) = scale(total, self.sample_type.unit, "nanoseconds");
            let share = match unit == "ns" && nanos != 0.0 {
                true => format!("({})", percentage(nanos as i64, profile.duration_nanos())),
                false => String::new(),
            };
            lines.push(format!(
                "Duration: {duration}, Total samples = {} {share}",
                label(total)
            ));
        }
        let shown = self.rows.last().map_or(0, |row| row.flat_sum);
        lines.push(format!(
            "Showing nodes accounting for {}, {} of {} total",
            label(shown),
            percentage(shown, total).trim(),
            label(total)
        ));
        if total != 0 && self.dropped > 0 {
            let cutoff = ((total as f64 * self.node_fraction) as i64).saturating_abs();
            let s = if self.dropped > 1 { "s" } else { "" };
            lines.push(format!(
                "Dropped {} node{s} (cum <= {})",
                self.dropped,
                label(cutoff)
            ));
        }
        if total != 0 && !self.rows.is_empty() && self.rows.len() < self.found {
            lines.push(format!(
                "Showing top {} nodes out of {}",
                self.rows.len(),
                self.found
            ));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Nanoseconds since 1970 as `2006-01-02 15:04:05`.
fn utc(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of year 0, in eras of 400 years, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mapping, ProfileBuilder};

    #[test]
    fn times() {
        for (nanos, expected) in [
            (0, "1970-01-01 00:00:00"),
            (1_709_210_096_999_999_999, "2024-02-29 12:34:56"),
            (1_767_225_599_000_000_000, "2025-12-31 23:59:59"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(utc(nanos), expected);
        }
        assert_eq!(utc(i64::MAX), "2262-04-11 23:47:16");
    }

    /// main calls f, which calls itself and, inlined, g; a stack without symbols.
    fn profile() -> Profile {
        let mut made = ProfileBuilder::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
        let [main, f, g] = ["main.main", "main.f", "main.g"].map(|name| made.function(name, "", 0));
        let binary = made.mapping(Mapping {
            file: "/bin/shop",
            build_id: "id",
            memory_start: 0,
            memory_limit: 1,
            file_offset: 0,
        });
        let in_main = made.location(1, &[(main, 1)]);
        let in_f = made.location(2, &[(f, 2)]);
        let g_in_f = made.location(3, &[(g, 9), (f, 3)]);
        let nowhere = made.location(4, &[]);
        made.in_mapping(nowhere, binary);
        made.sample(&[g_in_f, in_f, in_f, in_main], &[1, 3 << 20]);
        made.sample(&[in_f, in_main], &[1, 1 << 20]);
        made.sample(&[nowhere], &[1, 1_000]);
        made.sample(&[in_main], &[1, 0]);
        made.build().unwrap()
    }

    #[test]
    fn the_report() {
        insta::assert_snapshot!(top(&profile(), 1, &TopOptions::default()).render(), @r"
        File: shop
        Build ID: id
        Type: inuse_space
        Showing nodes accounting for 4MB, 100% of 4MB total
        Dropped 1 node (cum <= 0.02MB)
              flat  flat%   sum%        cum   cum%
               3MB 74.98% 74.98%        3MB 74.98%  main.g (inline)
               1MB 24.99%   100%        4MB   100%  main.f
                 0     0%   100%        4MB   100%  main.main
        ");
        let options = TopOptions {
            node_count: 2,
            node_fraction: 0.0,
            sort: Sort::Cum,
            ..TopOptions::default()
        };
        insta::assert_snapshot!(top(&profile(), 0, &options).render(), @r"
        File: shop
        Build ID: id
        Type: inuse_objects
        Showing nodes accounting for 2, 50.00% of 4 total
        Showing top 2 nodes out of 4
              flat  flat%   sum%        cum   cum%
                 1 25.00% 25.00%          3 75.00%  main.main
                 1 25.00% 50.00%          2 50.00%  main.f
        ");
    }

    #[test]
    fn a_sample_type_that_is_not_there() {
        let profile = profile();
        let top = top(&profile, 7, &TopOptions::default());
        assert_eq!((top.rows.len(), top.total), (0, 0));
    }
}

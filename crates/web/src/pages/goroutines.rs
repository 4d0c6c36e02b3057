//! Goroutines at the same place: what they hold, and whether they can ever run again.

use inspect::holders::{GoroutineGroup, HolderKind, KeptBy, Place};
use maud::{Markup, html};

use super::holders::signed;
use crate::holders::{Group, Held, change, held};
use crate::words;

/// Groups in the table, those that hold most first.
const ROWS_MAX: usize = 20;

pub(super) fn section(of: &Held) -> Markup {
    let cut = of.groups.len().saturating_sub(ROWS_MAX);
    html! {
        h2 { "Goroutines, by what they hold" }
        table .groups {
            caption .sr { "Groups of goroutines, those that hold most first" }
            thead {
                tr {
                    th scope="col" { "Where they stand" }
                    th scope="col" .num { "How many" }
                    th scope="col" .num { "Hold" }
                    th scope="col" { "Can they go on?" }
                }
            }
            tbody { @for group in of.groups.iter().take(ROWS_MAX) { (row(of, group)) } }
        }
        p .quiet.small {
            "Held are their stacks and what only they reach; what a variable reaches counts for the variable. "
            @if cut > 0 { (words::count(cut as f64)) " groups that hold less are not shown." }
        }
    }
}

fn row(of: &Held, group: &Group) -> Markup {
    let now = &group.now;
    let bytes = held(now);
    html! {
        tr {
            th scope="row" {
                span .function { (now.at.as_ref().map_or(&now.entry, |at| &at.function)) }
                @if let Some(at) = &now.at { (place(at)) }
                div .sub {
                    @if !now.state.is_empty() { span { (now.state) } }
                    @if let Some(waited) = &now.waited {
                        span { "for " (words::seconds(waited.median_ns as f64 / 1e9)) " or more" }
                    }
                    @if now.at.as_ref().is_some_and(|at| at.function != now.entry) {
                        span { "began in " (now.entry) }
                    }
                    @if let Some(by) = &now.created_by { span { "begun by " (by.function) (place(by)) } }
                }
            }
            td .num data-label="How many" {
                (words::count(now.count as f64))
                @if let Some((before, _)) = group.before { (difference(before, now.count)) }
            }
            td .num data-label="Hold" {
                (words::bytes(bytes as f64))
                @if let Some((_, before)) = group.before && before != bytes {
                    div .quiet.small { (signed(change(before, bytes))) }
                }
                div .quiet.small { (words::bytes(now.average_bytes as f64)) " each" }
            }
            td data-label="Can they go on?" { (proof(of, group)) }
        }
    }
}

fn difference(before: u64, now: u64) -> Markup {
    let change = change(before, now);
    html! {
        @if change != 0 {
            div .quiet.small { @if change > 0 { "+" } (words::count(change as f64)) }
        }
    }
}

fn place(at: &Place) -> Markup {
    let file = at.file.rsplit('/').next().unwrap_or_default();
    html! { @if at.line > 0 { span .place title=(at.file) { (file) ":" (at.line) } } }
}

/// What the proof came to, in words: it may be that all, some or none of them are stuck for good.
fn proof(of: &Held, group: &Group) -> Markup {
    let now = &group.now;
    let is_sure = !of.report.approximate;
    html! {
        @if group.leaked > 0 {
            div {
                span .badge.leak {
                    span .sign aria-hidden="true" { "▲" }
                    @if group.leaked < now.count { (words::count(group.leaked as f64)) " " }
                    @if is_sure { "never again" } @else { "likely never again" }
                }
            }
            div .small {
                @if is_sure { "Nothing that could run reaches what they wait for." }
                @else { "Nothing that could run was seen to reach what they wait for. The program ran on meanwhile, so this is no proof." }
            }
        }
        @for way in &now.kept_by { div .small { (kept(now, way)) } }
        @if group.leaked == 0 && now.kept_by.is_empty() {
            span .quiet { (unproven(now)) }
        }
    }
}

/// Of several ways each has its part of the sample.
fn kept(group: &GoroutineGroup, way: &KeptBy) -> Markup {
    let counts = group.kept_by.iter().map(|way| way.count);
    let looked_at = counts.fold(0u64, u64::saturating_add);
    let by = match way.kind {
        HolderKind::Goroutine => "a goroutine that can run: ",
        HolderKind::Timer => "a timer: ",
        _ => "",
    };
    html! {
        "Still reached by " (by) code { (way.path.trim()) }
        @if group.kept_by.len() > 1 {
            span .quiet {
                " (" (words::count(way.count as f64)) " of " (words::count(looked_at as f64)) " looked at)"
            }
        }
    }
}

fn unproven(group: &GoroutineGroup) -> &'static str {
    match group.judged {
        0 => "They wait for no channel or lock.",
        _ => "What they wait for is still reached.",
    }
}

//! Open descriptors, by who holds them.

use inspect::holders::DescriptorChange;
use maud::{Markup, html};

use crate::holders::Held;
use crate::words;

/// Rows of the table, those that grew most first.
const ROWS_MAX: usize = 20;

pub(super) fn section(of: &Held) -> Markup {
    let all = &of.report.descriptors;
    let others: u64 = all.others.iter().map(|one| one.count).sum();
    html! {
        h2 { "Descriptors, by who holds them" }
        table .groups {
            caption .sr { "Holders of open descriptors, those that grew most first" }
            thead {
                tr {
                    th scope="col" { "Holder" }
                    th scope="col" { "Kind" }
                    th scope="col" .num { "How many" }
                    th scope="col" .num { "Growth" }
                }
            }
            tbody { @for change in of.descriptors.iter().take(ROWS_MAX) { (row(of, change)) } }
        }
        p .quiet.small {
            @if let Some(open) = all.open { (words::count(open as f64)) " were open" }
            @else { "It is not known how many were open" }
            "; " (words::count(others as f64)) " of them no file or connection of Go's has: system calls, C or the \
             runtime opened them."
            @if all.unreached > 0 {
                " " (words::count(all.unreached as f64)) " nothing reaches any more: the next collection closes them."
            }
        }
    }
}

fn row(of: &Held, change: &DescriptorChange) -> Markup {
    let group = &change.group;
    // Of all goroutines there is only one of this name.
    let goroutines = if group.holder == "main.main" { 1 } else { 2 };
    html! {
        tr {
            th scope="row" {
                span .quiet { (words::holder_kind(group.holder_kind, goroutines)) }
                span .function { (group.holder) (group.path) }
                div .sub {
                    @if !group.ty.is_empty() { span { (group.ty) } }
                    @for user in &group.used_by { span { "used by " (user) } }
                    @if let Some(site) = group.allocated_at.first() { span { "opened in " (site.function) } }
                }
            }
            td data-label="Kind" { (group.kind.as_str()) }
            td .num data-label="How many" { (words::count(group.count as f64)) }
            td .num data-label="Growth" {
                @if of.since.is_some() {
                    @if change.growth > 0 { "+" } (words::count(change.growth as f64))
                } @else { span .quiet { "not known" } }
            }
        }
    }
}

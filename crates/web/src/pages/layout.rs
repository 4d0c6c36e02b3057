//! What every page has around its content.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::FleetView;

use crate::assets;

/// Where in the site a page is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Fleet,
    Incidents,
    Elsewhere,
}

/// A page: its title, its place, its content, and whether it has charts.
pub(super) fn page(
    title: &str,
    place: Place,
    charts: bool,
    view: &FleetView,
    content: Markup,
) -> Markup {
    let open = view
        .incidents
        .iter()
        .filter(|incident| incident.wants_attention());
    let open = open.count();
    frame(
        title,
        charts,
        html! {
            nav aria-label="Pages" {
                (link("/", "Targets", place == Place::Fleet))
                (link("/incidents", "Incidents", place == Place::Incidents))
                @if open > 0 {
                    span #open-incidents .count data-part { (open) span .sr { " open" } }
                }
            }
            // Says whether the page is current; empty without scripts, which is what it then means.
            p #live .live role="status" {}
        },
        html! {
            main #main tabindex="-1" { (content) }
            footer #health data-part { (super::parts::health(view)) }
        },
    )
}

/// A page without a view behind it.
pub(super) fn message(title: &str, text: &str) -> Markup {
    plain(
        title,
        html! {
            h1 { (title) }
            p { (text) }
            p { a href="/" { "All targets" } }
        },
    )
}

/// A page of its own content, without a view behind it.
pub(super) fn plain(title: &str, content: Markup) -> Markup {
    frame(
        title,
        false,
        html! { nav aria-label="Pages" { (link("/", "Targets", false)) } },
        html! { main #main tabindex="-1" { (content) } },
    )
}

/// A page as a file of its own: everything is in it, and nothing may be loaded.
pub(super) fn report(title: &str, view: &FleetView, content: Markup) -> Markup {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; connect-src data:";
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · unswept" }
                style { (PreEscaped(assets::text("style.css"))) }
            }
            body {
                header { span .brand { "unswept" } p { "Written " (super::parts::time(view.at)) } }
                main #main { (content) }
                script type="module" { (PreEscaped(crate::report::script())) }
            }
        }
    }
}

fn frame(title: &str, charts: bool, head: Markup, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · unswept" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                @if charts { link rel="stylesheet" href="/assets/uplot.css"; }
                link rel="stylesheet" href="/assets/style.css";
                @if charts {
                    script src="/assets/uplot.js" defer {}
                    script type="module" src="/assets/charts.js" {}
                    script type="module" src="/assets/flame.js" {}
                }
                script type="module" src="/assets/live.js" {}
            }
            body {
                a .skip href="#main" { "To the content" }
                header {
                    a .brand href="/" {
                        img src="/assets/icon.svg" alt="" width="22" height="22";
                        span { "unswept" }
                    }
                    (head)
                }
                (content)
            }
        }
    }
}

fn link(href: &str, text: &str, here: bool) -> Markup {
    html! { a href=(href) aria-current=[here.then_some("page")] { (text) } }
}

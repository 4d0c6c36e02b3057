//! The pages as a person sees them, in headless Chromium: what they say, that they stay current by
//! themselves, and that they ask nobody but the watcher.

use std::time::{Duration, Instant};

use e2e::{Browser, Setting, Settings, Shop, Watcher, tell, wait_until};

/// How long a page is left open: several new views.
const OPEN_FOR: Duration = Duration::from_secs(6);

#[test]
fn pages_name_the_culprit_stay_current_and_ask_nobody_else() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let Some(chromium) = Setting::chromium() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build_with(&setting, "pictured", &[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let watcher = Watcher::start(&setting, &Settings::default(), &data);
    let leaking = shop.start(&["-load", "40", "-scenario", "session-cache"]);
    let pid = leaking.running.pid();
    let host = watcher.url.trim_start_matches("http://");
    let browser = Browser::new(chromium, host);

    let target = wait_until("the target", Duration::from_secs(20), || {
        watcher.target_of(pid)
    });
    let target = target["target"]["id"].as_str().expect("an id").to_owned();
    let target = format!("{}/targets/{target}", watcher.url);
    stays_current(&browser, &target);
    tell(story, "the target's page is live");

    let incident = wait_until("the incident", Duration::from_secs(180), || {
        let found = watcher
            .incidents_of(pid)
            .into_iter()
            .find(|i| !i.evidence().is_empty());
        found.ok_or_else(|| format!("{:?}", watcher.target_of(pid)))
    });
    tell(story, format!("incident {}", incident.text("id")));
    let incident = format!("{}/incidents/{}", watcher.url, incident.text("id"));
    let culprit = shop.culprit("session-cache");
    let function = culprit.function.replace('&', "&amp;");
    let line = format!("{}:{}", culprit.file, culprit.line);
    let pages = [
        ("fleet", watcher.url.clone() + "/", vec!["pictured", "leak"]),
        ("target", target, vec!["pictured", "leak", &function, &line]),
        (
            "incident",
            incident,
            vec!["leak", &function, &line, "after-heap.pb.gz"],
        ),
    ];
    for (name, url, words) in pages {
        let page = browser.page_after(&url, Duration::from_secs(2));
        let lower = page.to_lowercase();
        for word in words {
            let said = lower.contains(&word.to_lowercase());
            assert!(said, "the {name} page does not say `{word}`:\n{page}");
        }
        let picture = |kind: &str| setting.pictures().join(format!("{name}{kind}.png"));
        browser.picture(&url, "1280,1600", &picture(""));
        browser.picture(&url, "390,1600", &picture("-phone"));
    }
    tell(
        story,
        format!("pictures in {}", setting.pictures().display()),
    );

    let asked = browser.asked();
    let elsewhere: Vec<_> = asked.iter().filter(|asked| asked.host != host).collect();
    assert!(elsewhere.is_empty(), "asked of other hosts: {elsewhere:?}");
    tell(
        story,
        format!("{} requests, all to the watcher", asked.len()),
    );
}

/// The page is opened once; what it shows later comes from its own requests.
fn stays_current(browser: &Browser, url: &str) {
    let (_, path) = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .expect("a path");
    let path = format!("/{path}");
    let shown = browser.page_after(url, OPEN_FOR);
    let asked = browser.asked();
    let of_page = |destination: &str| {
        let same = |a: &&e2e::browser::Asked| a.path == path && a.destination == destination;
        asked.iter().filter(same).count()
    };
    assert_eq!(of_page("document"), 1, "loaded once: {asked:?}");
    let events = asked.iter().filter(|asked| asked.path == "/events").count();
    assert_eq!(events, 1, "listens to events: {asked:?}");
    assert!(
        of_page("empty") >= 2,
        "fetches itself again by itself: {asked:?}"
    );
    // Says that it is current; the server's own page has nothing there.
    assert!(
        shown.contains(">live</p>"),
        "the page does not say that it is live:\n{shown}"
    );
}

//! The pages as a person sees them, in headless Chromium: what they say, that they stay current by
//! themselves, and that they ask nobody but the watcher.

use std::time::{Duration, Instant};

use e2e::{Browser, Setting, Settings, Shop, Watcher, tell, wait_until};

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
    let function = culprit.function;
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
        let mut page = browser.open(&url);
        wait_until("what the page must say", Duration::from_secs(20), || {
            let text = page.text().to_lowercase();
            let missing = words
                .iter()
                .find(|word| !text.contains(&word.to_lowercase()));
            missing.map_or(Ok(()), |word| {
                Err(format!("the {name} page without `{word}`:\n{text}"))
            })
        });
        assert_only_from(&watcher.url, &page.sources());
        page.close();
        let picture = |kind: &str| setting.pictures().join(format!("{name}{kind}.png"));
        browser.picture(&url, "1280,1600", &picture(""));
        browser.picture(&url, "390,1600", &picture("-phone"));
    }
    tell(
        story,
        format!("pictures in {}", setting.pictures().display()),
    );
}

/// Nothing in the page comes from anywhere else. (What the browser asks for itself is its own affair;
/// it reaches nobody here, so the page is also shown to work without a network.)
fn assert_only_from(url: &str, sources: &[String]) {
    assert!(
        sources.len() > 2,
        "a page has a style and a script: {sources:?}"
    );
    let elsewhere: Vec<_> = sources.iter().filter(|one| !one.starts_with(url)).collect();
    assert!(elsewhere.is_empty(), "from elsewhere: {elsewhere:?}");
}

/// The page is opened once; what it shows later comes by itself.
fn stays_current(browser: &Browser, url: &str) {
    let mut page = browser.open(url);
    wait_until(
        "the page to say that it is live",
        Duration::from_secs(20),
        || {
            let said = page.evaluate("(document.getElementById('live') || {}).textContent");
            (said == "live").then_some(()).ok_or(said.to_string())
        },
    );
    // Lost when the page is loaded again.
    let _ = page.evaluate("window.mark = 'the same page'");
    let before = page.text();
    let after = wait_until(
        "the page's figures to change",
        Duration::from_secs(20),
        || {
            let now = page.text();
            (now != before).then_some(now).ok_or("no change".to_owned())
        },
    );
    assert_eq!(
        page.evaluate("window.mark"),
        "the same page",
        "it was loaded again"
    );
    let changed = after.lines().filter(|line| !before.contains(line)).count();
    println!("          {changed} lines of it changed by themselves");
    page.close();
}

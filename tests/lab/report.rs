//! The report of all experiments: complete, self-contained, and good to read
//! on a phone, in light and in dark.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::lab;

/// How wide a small phone is, in CSS pixels.
const PHONE: u64 = 360;
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What the browser says of the page in a frame as wide as a phone.
const PROBE: &str = r#"<script>
addEventListener('load', () => {
const page = document.querySelector('iframe').contentDocument;
const root = page.documentElement, style = getComputedStyle(page.body);
document.body.dataset.seen = JSON.stringify({
    overflow: root.scrollWidth - root.clientWidth,
    width: root.clientWidth,
    ink: style.color,
    ground: style.backgroundColor,
    sections: page.querySelectorAll('section').length,
    cards: page.querySelectorAll('.cards article').length,
    figures: [...page.querySelectorAll('section figure')].filter(figure =>
        [...figure.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().height > 50).length == 1).length,
    all_figures: page.querySelectorAll('section figure').length,
    cut: [...page.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().right > root.clientWidth + 1).length,
    silent: [...page.querySelectorAll('section svg')].filter(svg => !(svg.getAttribute('aria-label') || '').length).length,
    scrolled: [...page.querySelectorAll('.drawing')].filter(box => box.scrollWidth > box.clientWidth + 1).length,
    fetched: page.defaultView.performance.getEntriesByType('resource').length,
});
});
</script>"#;

#[test]
fn all_experiments_make_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = lab(&["all", "--quick", "--out", folder.path().to_str().unwrap()]);
    let faults = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{faults}");
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    let list = String::from_utf8(lab(&[]).stdout).unwrap();
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "all")
        .collect();
    for name in &names {
        let read = |ending: &str| {
            let file = format!("{name}.{ending}");
            assert!(
                page.contains(&format!("href=\"{file}\"")),
                "{file} is linked"
            );
            fs::read_to_string(folder.path().join(file)).unwrap()
        };
        let result: Value = serde_json::from_str(&read("json")).unwrap();
        let rows = result["rows"].as_array().unwrap().len();
        assert!(result["place"]["kernel"].is_string() && rows > 0);
        assert!(read("csv").lines().count() > rows, "a heading and all rows");
        assert!(read("svg").starts_with("<svg"));
        assert!(page.contains(&format!("<section id=\"{name}\"")));
    }
    assert!(only_names_the_svg_format(&page));
    assert!(page.contains("A quick run"), "its figures say little");
    assert!(
        page.contains("net.core.rmem_max"),
        "what the figures depend on"
    );
    look_at(folder.path(), &page, names.len());
}

/// The one address in the page is SVG's name, which nobody fetches.
fn only_names_the_svg_format(page: &str) -> bool {
    let addresses = page.matches("http://").count();
    addresses == page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
}

fn look_at(folder: &Path, page: &str, experiments: usize) {
    let Some(browser) = BROWSERS.into_iter().find(|browser| runs(browser)) else {
        let _ = writeln!(stderr(), "SKIPPED: no Chromium to look at the page with");
        return;
    };
    let escaped = page.replace('&', "&amp;").replace('"', "&quot;");
    let frame = format!(
        "<!DOCTYPE html><body><iframe width={PHONE} height=640 style=\"border:0\" srcdoc=\"{escaped}\"></iframe>{PROBE}"
    );
    let path = folder.join("phone.html");
    fs::write(&path, frame).unwrap();
    let [light, dark] = [1, 0].map(|scheme| see(browser, &path, scheme));
    for seen in [&light, &dark] {
        assert_eq!(seen["overflow"], 0, "{seen}");
        assert!(seen["width"].as_u64().unwrap() <= PHONE, "{seen}");
        assert_eq!(seen["sections"], experiments, "{seen}");
        assert_eq!(seen["cards"], experiments, "{seen}");
        assert_eq!(
            seen["figures"], seen["all_figures"],
            "one form of each is shown: {seen}"
        );
        assert!(
            seen["figures"].as_u64().unwrap() >= experiments as u64,
            "{seen}"
        );
        for nothing in ["cut", "silent", "scrolled"] {
            assert_eq!(seen[nothing], 0, "{nothing}: {seen}");
        }
        assert_eq!(seen["fetched"], 0, "{seen}");
    }
    assert_ne!(light["ground"], dark["ground"]);
    assert_ne!(light["ink"], dark["ink"]);
}

fn runs(browser: &str) -> bool {
    let mut command = Command::new(browser);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Opens the page in the light (1) or dark (0) scheme and returns what the
/// probe saw.
fn see(browser: &str, page: &Path, scheme: u8) -> Value {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
        ])
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--dump-dom"])
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let seen = dom
        .split_once("data-seen=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (seen, _) = seen.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(&seen.replace("&quot;", "\"")).unwrap()
}

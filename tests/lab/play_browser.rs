//! The page of `lab play` in a browser: each button is clicked, and what the page says
//! and shows is compared with the counters.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::play::{Bench, PATIENCE, has_python, skip};
use super::webdriver::Browser;

const SETUP: &str = "sockets=4&flows=64&rate=400&steer=hash";

/// What the page says and shows.
const SHOWN: &str = "
    const rows = [...document.querySelectorAll('#rows tr')];
    return {
        said: document.getElementById('said').textContent,
        number: Number(document.getElementById('said').dataset.number || 0),
        busy: [...document.querySelectorAll('#setup button, #acts button')].some((one) => one.disabled),
        ports: rows.map((row) => Number(row.children[2].textContent)),
        sockets: rows.map((row) => row.dataset.socket),
        hash: location.hash,
        frames: window.framesPerSecond || 0,
    };
";

/// Looks until the page is as wanted.
fn shown(browser: &Browser, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let shown = browser.run(SHOWN);
        if is_it(&shown) {
            return shown;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {shown}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Compares the page with the counters, once something new was said.
fn compare(bench: &Bench, browser: &Browser, what: &str, number: u64) -> Value {
    let is_new = |shown: &Value| shown["number"] == number && shown["busy"] == false;
    shown(browser, what, is_new);
    let counters = bench.counters();
    let column = |name: &str| -> Vec<Value> {
        let lanes = counters["lanes"].as_array().unwrap().iter();
        lanes.map(|lane| lane[name].clone()).collect()
    };
    let sockets: Vec<Value> = column("socket")
        .iter()
        .map(|one| one.to_string().into())
        .collect();
    let agrees = |shown: &Value| {
        shown["said"] == counters["said"]["text"]
            && shown["sockets"] == Value::Array(sockets.clone())
            && shown["ports"] == Value::Array(column("flows"))
    };
    let page = shown(browser, &format!("{what}: {counters}"), agrees);
    assert_eq!(
        page["hash"],
        format!("#{}", counters["setup"].as_str().unwrap())
    );
    counters["said"].clone()
}

#[test]
fn every_button_does_what_the_page_says() {
    let Some(browser) = Browser::start() else {
        skip("there is no chromedriver, or no Chromium");
        return;
    };
    let bench = Bench::start(SETUP);
    browser.resize(1280, 900);
    browser.open(&bench.url);
    compare(&bench, &browser, "opened", 1);
    let mut number = 1;
    for button in [
        "add",
        "close",
        "stall",
        "takeover",
        "overlap",
        "reopen",
        "process",
        "process",
        "python",
        "python",
        "other-user",
    ] {
        if button == "python" && !has_python() {
            skip("there is no python3");
            continue;
        }
        browser.click(&format!("[data-act={button}]"));
        number += 1;
        let said = compare(&bench, &browser, button, number);
        assert!(said["figures"]["failed"].is_null(), "{button}: {said}");
        let lost = said["figures"]["lost"].as_u64().unwrap();
        let text = said["text"].as_str().unwrap();
        let told = text.contains(&format!("Lost: {lost} of ")) || text.contains("Only root");
        assert!(told, "{button}: {said}");
    }
    // A tab that is not seen holds no connection, and goes on when it is seen again.
    for (hidden, following) in [(true, false), (false, true)] {
        browser.run(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});
            document.dispatchEvent(new Event('visibilitychange'))"
        ));
        let start = Instant::now();
        while browser.run("return following !== null") != following {
            assert!(start.elapsed() < PATIENCE, "hidden: {hidden}");
            thread::sleep(Duration::from_millis(20));
        }
    }
    // What is being filled in is not overwritten by what is said meanwhile.
    browser.run(
        "const field = document.getElementById('sockets');
        field.value = 3;
        field.dispatchEvent(new Event('input', { bubbles: true }))",
    );
    browser.click("[data-act=stall]");
    number += 1;
    compare(&bench, &browser, "stall", number);
    browser.click("#set");
    let said = compare(&bench, &browser, "set", number + 1);
    assert!(
        said["text"].as_str().unwrap().starts_with("3 sockets"),
        "{said}"
    );

    // Another setup's address, with no token in it, in the same browser.
    let place = format!("http://{}/", bench.address);
    browser.open("about:blank");
    browser.open(&format!("{place}#sockets=5&flows=40&rate=100&steer=hash"));
    let is_there = |shown: &Value| {
        shown["sockets"]
            .as_array()
            .is_some_and(|all| all.len() == 5)
    };
    shown(&browser, "the address is the setup", is_there);
    assert_eq!(
        bench.counters()["setup"],
        "sockets=5&flows=40&rate=100&steer=hash"
    );
    fits(&browser);
}

/// On a narrow screen nothing is to be scrolled sideways.
fn fits(browser: &Browser) {
    for width in [360, 1280] {
        browser.resize(width, 800);
        let wide = browser.run("return document.documentElement.scrollWidth");
        assert!(
            wide.as_u64().unwrap() <= u64::from(width),
            "{wide} of {width}"
        );
    }
    shown(browser, "it is drawn", |shown| {
        shown["frames"].as_f64().unwrap() > 1.0
    });
}

#[test]
fn without_its_token_the_page_shows_nothing() {
    let Some(browser) = Browser::start() else {
        skip("there is no chromedriver, or no Chromium");
        return;
    };
    let bench = Bench::start(SETUP);
    browser.open(&format!("http://{}/#{SETUP}", bench.address));
    let said = shown(&browser, "refused", |shown| {
        shown["said"]
            .as_str()
            .unwrap()
            .contains("does not have the token")
    });
    assert_eq!(said["sockets"], Value::Array(Vec::new()));
    assert_eq!(said["busy"], true, "no button can be pressed");
}

//! A browser without a screen, driven as W3C WebDriver has it: JSON over HTTP to
//! chromedriver, which starts Chromium.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser may take its time to start, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a driver is started before its end is believed.
const ATTEMPTS: usize = 40;

/// A browser, until it is dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// What it keeps, which goes with it.
    _profile: TempDir,
}

/// Starts chromedriver, and gives the port that it listens on; `None` where there is none.
///
/// It takes any free port of ::1, and ends if 127.0.0.1 has this port in use: so do a lot of
/// sockets of the tests that run beside. Then it is started anew.
fn start_driver() -> Option<(Child, u16)> {
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            spawned => spawned.unwrap(),
        };
        let mut out = BufReader::new(driver.stdout.take().unwrap());
        said.clear();
        loop {
            let start = said.len();
            if out.read_line(&mut said).unwrap() == 0 {
                break;
            }
            let line = said[start..].trim_end_matches(['.', '\n']);
            if let Some((_, port)) = line.split_once("successfully on port ") {
                return Some((driver, port.parse().unwrap()));
            }
        }
        driver.wait().unwrap();
        assert!(said.contains("port not available"), "chromedriver: {said}");
    }
    panic!("chromedriver has ended {ATTEMPTS} times: {said}");
}

impl Browser {
    /// Starts one; `None` where there is no chromedriver or no Chromium.
    pub fn start() -> Option<Browser> {
        let (driver, port) = start_driver()?;
        let mut browser = Browser {
            driver,
            address: ([127, 0, 0, 1], port).into(),
            session: String::new(),
            _profile: tempfile::tempdir().unwrap(),
        };
        let profile = browser._profile.path().display();
        let options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", format!("--user-data-dir={profile}"),
        ]});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let answer = browser.exchange("POST", "/session", &wanted);
        if answer["message"]
            .as_str()
            .is_some_and(|why| why.contains("cannot find Chrome"))
        {
            return None;
        }
        let session = answer["sessionId"].as_str();
        browser.session = session.unwrap_or_else(|| panic!("{answer}")).to_owned();
        Some(browser)
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let (address, length) = (self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
                Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        // It leaves the connection open, whatever it is told.
        let mut response = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            assert!(response.read_line(&mut line).unwrap() > 0, "no answer");
            let field = line.to_ascii_lowercase();
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        response.read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["value"].clone()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        let answer = self.exchange("POST", &path, body);
        assert!(
            answer.is_null() || answer["error"].is_null(),
            "{path} {body}: {answer}"
        );
        answer
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({"url": url}));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Clicks on what a selector finds, as a person would: it must be in sight.
    pub fn click(&self, selector: &str) {
        let place = json!({"using": "css selector", "value": selector});
        let element = self.command("/element", &place);
        let element = element
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .clone();
        let path = format!("/element/{}/click", element.as_str().unwrap());
        self.command(&path, &json!({}));
    }

    /// Has the page so many pixels wide and high.
    pub fn resize(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size});
        self.command("/goog/cdp/execute", &command);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; chromedriver alone would leave it behind.
        if !self.session.is_empty() && !std::thread::panicking() {
            self.exchange(
                "DELETE",
                &format!("/session/{}", self.session),
                &Value::Null,
            );
        } else if !self.session.is_empty() {
            let end = || {
                self.exchange(
                    "DELETE",
                    &format!("/session/{}", self.session),
                    &Value::Null,
                )
            };
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

//! A real Chromium, driven through WebDriver.
//!
//! Waits are event-driven: the page itself tells when a condition holds, on the next
//! change of its document. Chromium and its driver are named by `CHROMIUM` and
//! `CHROMEDRIVER`, else found on `PATH`.

#![allow(clippy::missing_panics_doc)]

use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::Stdio,
    time::Duration,
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    wd::{Capabilities, TimeoutConfiguration},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// How long anything is waited for. Far beyond what it takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// Control held, `a`, everything released; as WebDriver writes keys.
const SELECT_ALL: &str = "\u{e009}a\u{e000}";
const BACKSPACE: &str = "\u{e003}";

/// Resolves once the expression holds; asks again after every change of the document.
const WAIT: &str = "
    const [condition, done] = [new Function('return ' + arguments[0]), arguments[1]];
    if (condition()) return done(true);
    const watcher = new MutationObserver(() => {
        if (condition()) { watcher.disconnect(); done(true); }
    });
    watcher.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
";

/// One browser window, and the driver process behind it.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    driver: Child,
    port: u16,
    session: String,
}

impl Drop for Browser {
    /// A test panicked before [`close`](Browser::close). A driver that is merely killed leaves
    /// its browser behind; so the session is ended first, which closes it.
    fn drop(&mut self) {
        if self.driver.id().is_none() {
            return;
        }
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return };
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            self.session
        );
        // Whatever is answered, the driver is killed next.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read(&mut [0; 1]);
    }
}

impl Browser {
    /// Starts a browser with a fresh profile.
    pub async fn start() -> Self {
        let program = |variable, fallback: &str| env::var(variable).unwrap_or_else(|_| fallback.to_owned());
        let mut driver = Command::new(program("CHROMEDRIVER", "chromedriver"))
            .arg("--port=0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("readable").expect("chromedriver tells its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse::<u16>().expect("a port");
            }
        };
        // Whatever else it says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1440,900",
        ];
        let options = json!({ "binary": program("CHROMIUM", "/usr/bin/chromium"), "args": args });
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("chromium starts");
        let timeouts = TimeoutConfiguration::new(Some(DEADLINE), Some(DEADLINE), None);
        client.update_timeouts(timeouts).await.expect("timeouts are set");
        let session = client.session_id().await.expect("the driver answers").expect("a session");
        Self { client, driver, port, session }
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page loads");
    }

    /// Waits until a JavaScript expression holds.
    pub async fn wait_until(&self, condition: &str) {
        let told = self.client.execute_async(WAIT, vec![json!(condition)]).await;
        if let Err(error) = told {
            let html = self.client.source().await.unwrap_or_default();
            panic!("waited {DEADLINE:?} in vain for {condition}: {error}\n{html}");
        }
    }

    /// What a JavaScript expression gives.
    pub async fn value(&self, expression: &str) -> Value {
        self.client.execute(&format!("return {expression}"), vec![]).await.expect("the script runs")
    }

    /// Clicks, as a person would, what a CSS selector names.
    pub async fn click(&self, selector: &str) {
        self.wait_until(&format!("document.querySelector('{selector}:not(:disabled)')")).await;
        let element = self.client.find(Locator::Css(selector)).await.expect("it is there");
        element.click().await.unwrap_or_else(|error| panic!("{selector} cannot be clicked: {error}"));
    }

    /// Chooses an option of a `select`, by its value.
    pub async fn choose(&self, selector: &str, value: &str) {
        self.wait_until(&format!(
            "[...document.querySelectorAll('{selector}:not(:disabled) option')].some(one => one.value === '{value}')"
        ))
        .await;
        let element = self.client.find(Locator::Css(selector)).await.expect("it is there");
        element.select_by_value(value).await.expect("it can be chosen");
    }

    /// Replaces an input's text, by keyboard.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.wait_until(&format!("document.querySelector('{selector}:not(:disabled)')")).await;
        let element = self.client.find(Locator::Css(selector)).await.expect("it is there");
        // What is merely cleared, the page may fill again before a key comes; what is typed over a
        // selection replaces it at once.
        let instead = if text.is_empty() { BACKSPACE } else { text };
        element.send_keys(&format!("{SELECT_ALL}{instead}")).await.expect("it takes keys");
        self.wait_until(&format!("document.querySelector('{selector}').value === {}", json!(text))).await;
    }

    /// Closes the window and ends the driver.
    pub async fn close(mut self) {
        self.client.clone().close().await.expect("the browser closes");
        self.driver.kill().await.expect("the driver ends");
    }
}

//! A headless Chromium, driven by its own protocol over two pipes (`--remote-debugging-pipe`): commands and answers are JSON,
//! each ended by a NUL.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::{TempDir, eventually_within};

/// How long anything may take on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    number: u64,
    session: String,
    /// What the page's script has complained of.
    pub complaints: Vec<String>,
}

impl Browser {
    /// Starts it, with its files in `dir`.
    pub fn start(dir: &TempDir) -> Self {
        // Its pipes are the descriptors 3 and 4.
        let line = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                    --remote-debugging-pipe --user-data-dir=\"$1\" about:blank 3<&0 4>&1 < /dev/null > /dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", line, "sh", &dir.text("profile")])
            .env("HOME", dir.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (told, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, commands, answers, number: 0, session: String::new(), complaints: Vec::new() };
        let target = browser.does("Target.createTarget", json!({"url": "about:blank"}));
        let session = browser.does("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.does(domain, json!({}));
        }
        browser
    }

    /// A command, and its result.
    pub fn does(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.commands.write_all(&[command.to_string().as_bytes(), b"\0"].concat()).unwrap();
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let message = self.answers.recv_timeout(left).unwrap_or_else(|_| panic!("{method} has no answer"));
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            if ["Runtime.exceptionThrown", "Log.entryAdded"].contains(&message["method"].as_str().unwrap_or_default()) {
                self.complaints.push(message["params"].to_string());
            }
        }
    }

    /// What an expression of the page's script comes to.
    pub fn asks(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.does("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The window is so wide.
    pub fn is_wide(&mut self, width: u32) {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.does("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Waits until an expression is true. What it asks of may not be there yet.
    pub fn sees(&mut self, expression: &str) {
        let expression = &format!("(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()");
        eventually_within(PATIENCE, expression, || (self.asks(expression) == Value::Bool(true)).then_some(()));
    }

    /// A key is pressed.
    pub fn types(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" { "\r" } else { "" };
            let code = if key == "Enter" { 13 } else { 27 };
            let params = json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
            self.does("Input.dispatchKeyEvent", params);
        }
    }

    /// Keeps a picture of the whole page, in base64 as it comes.
    pub fn keeps(&mut self, file: &Path) {
        let shot = self.does("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        let data = shot["data"].as_str().unwrap();
        assert!(data.starts_with("iVBORw0KGgo") && data.len() > 10_000, "it is a PNG with something on it");
        std::fs::write(file, data).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A port of a program that lives in tokio: a task answers what comes, another asks, and neither blocks a thread.
//!
//! The two halves of a [`Link`](zbridge::engine::Link) have a descriptor each. It is readable until `try_recv` has found
//! nothing, or `try_send` no room: what tokio's `AsyncFd` expects of one.
//!
//! `cargo run --example embed_tokio`

use std::error::Error;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zbridge::engine::{Bridge, LinkReceiver, LinkSender, SendError};

/// Has tokio wait for a half of a link.
#[allow(unsafe_code)]
fn watched<T: AsRawFd>(half: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: a half has one descriptor for all its life, and closes it when it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(half, Interest::READABLE) }?)
}

/// The frames of a port, one after the other.
struct Frames(AsyncFd<LinkReceiver>);

impl Frames {
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        let frame = |receiver: &mut LinkReceiver| receiver.try_recv()?.ok_or_else(|| ErrorKind::WouldBlock.into());
        self.0.async_io_mut(Interest::READABLE, frame).await
    }
}

/// Where frames go.
struct Sink(AsyncFd<LinkSender>);

impl Sink {
    /// Waits where the switch is busy: [`SendError::Full`] is `WouldBlock`.
    async fn send(&self, frame: &[u8]) -> io::Result<()> {
        let send = |sender: &LinkSender| sender.try_send(frame).map_err(|error: SendError| error.into());
        self.0.async_io(Interest::READABLE, send).await
    }
}

/// A frame from `src` to `dst`, both the last octet of a locally administered address.
fn frame(dst: u8, src: u8, text: &str) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5], text.as_bytes()].concat()
}

async fn run(bridge: &Bridge) -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = bridge.add_channel("default", "server")?.split();
    let (answers, mut questions) = (Sink(watched(sender)?), Frames(watched(receiver)?));
    let server = tokio::spawn(async move {
        while let Ok(question) = questions.next().await {
            let text = String::from_utf8_lossy(&question[14..]).to_uppercase();
            answers.send(&frame(question[11], question[5], &text)).await?;
        }
        io::Result::Ok(())
    });

    let (sender, receiver) = bridge.add_channel("default", "client")?.split();
    let (questions, mut answers) = (Sink(watched(sender)?), Frames(watched(receiver)?));
    for text in ["who is there?", "and what time is it?"] {
        questions.send(&frame(1, 2, text)).await?;
        let answer = tokio::time::timeout(Duration::from_secs(5), answers.next()).await??;
        println!("the answer is {:?}", String::from_utf8_lossy(&answer[14..]));
    }
    bridge.switch("default")?.remove_port("server")?;
    server.await??;
    println!("the server has ended with its port");
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::empty()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&bridge))?;
    bridge.stop()?;
    Ok(())
}

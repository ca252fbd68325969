//! Webhooks: where they may go (`guard`), and how the outbox is worked off against a real listener (`outbox`).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "real files, processes and sockets; a test that cannot go on says where"
)]

mod guard;
mod outbox;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::support::patience::soon;

/// A call as it came in.
#[derive(Debug)]
struct Call {
    head: String,
    body: Vec<u8>,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// A receiver on a free port of this address: answers each call with the next of `answers` (whole, as on the wire) and tells of
/// it. After the last answer it takes no more calls.
async fn receiver(address: &str, answers: Vec<Vec<u8>>) -> (u16, mpsc::UnboundedReceiver<Call>) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (calls, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let call = read_call(&mut stream).await;
            // A caller that has read enough hangs up.
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            let _ = calls.send(call);
        }
    });
    (port, told)
}

async fn read_call(stream: &mut TcpStream) -> Call {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the call broke off");
    };
    let mut call = Call { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end..].to_vec() };
    let length: usize = call.header("content-length").map_or(0, |length| length.parse().unwrap());
    while call.body.len() < length {
        assert_ne!(stream.read_buf(&mut call.body).await.unwrap(), 0, "the body broke off");
    }
    call
}

/// An answer without a body.
fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(soon("the end of the test", test))
}

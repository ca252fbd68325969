//! One keep-alive connection, as cheap as it gets: the load must not cost more than what it measures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
    to: SocketAddr,
}

impl Connection {
    /// Connects.
    pub fn open(to: SocketAddr) -> Connection {
        Connection { reader: Connection::connect(to).expect("the gateway listens"), to }
    }

    /// Connects, if somebody listens.
    pub fn try_open(to: SocketAddr) -> Option<Connection> {
        Some(Connection { reader: Connection::connect(to)?, to })
    }

    fn connect(to: SocketAddr) -> Option<BufReader<TcpStream>> {
        let stream = TcpStream::connect(to).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(120))).ok()?;
        Some(BufReader::new(stream))
    }

    /// Status and body of a GET.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        self.call("GET", path, b"")
    }

    /// Status and body of a POST of JSON.
    pub fn post(&mut self, path: &str, body: &[u8]) -> (u16, String) {
        self.call("POST", path, body)
    }

    /// Submits a job by `/run`; its id.
    pub fn submit(&mut self, endpoint: &str) -> String {
        let (status, body) = self.post(&format!("/v2/{endpoint}/run"), br#"{"input":{"n":12345}}"#);
        assert!(status == 200, "{status}: {body}");
        let id = body.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
        id.unwrap_or_else(|| panic!("no id in {body}")).to_owned()
    }

    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.to,
            body.len()
        );
        self.reader.get_mut().write_all(&[head.as_bytes(), body].concat()).expect("the request is sent");
        let (mut status, mut length) = (0, Some(0));
        loop {
            let mut line = String::new();
            let read = self.reader.read_line(&mut line).expect("the answer comes");
            assert!(read > 0, "the gateway ended the connection");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse().expect("a length"));
            } else if line.eq_ignore_ascii_case("transfer-encoding: chunked") {
                length = None;
            }
        }
        let body = match length {
            Some(length) => self.piece(length),
            None => self.chunks(),
        };
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// A body whose length is not told ahead: the answer to a `/runsync` that took long.
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("the answer comes");
            let length = usize::from_str_radix(line.trim(), 16).expect("the length of a piece");
            body.extend(self.piece(length));
            self.piece(2);
            if length == 0 {
                return body;
            }
        }
    }

    fn piece(&mut self, length: usize) -> Vec<u8> {
        let mut piece = vec![0; length];
        self.reader.read_exact(&mut piece).expect("the answer comes");
        piece
    }
}

//! A stand-in for object storage: takes what is PUT and remembers it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Objects by path, in order of arrival.
type Objects = Arc<Mutex<Vec<(String, String)>>>;

/// An open bucket. Its thread ends with the test process.
pub struct Bucket {
    address: SocketAddr,
    objects: Objects,
}

impl Bucket {
    /// On a free port.
    pub fn open() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let objects = Objects::default();
        let shared = Arc::clone(&objects);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let objects = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &objects));
            }
        });
        Bucket { address, objects }
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything so far: path without its query, body as text.
    pub fn stored(&self) -> Vec<(String, String)> {
        self.objects.lock().expect("no panic while it is held").clone()
    }
}

/// Answers the requests of a connection until it ends.
fn serve(mut stream: TcpStream, objects: &Objects) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let path = first.split(' ').nth(1)?.split('?').next()?.to_owned();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
            if name.eq_ignore_ascii_case("expect") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        objects.lock().ok()?.push((path, String::from_utf8_lossy(&body).into_owned()));
        stream.write_all(b"HTTP/1.1 200 OK\r\nETag: \"0\"\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

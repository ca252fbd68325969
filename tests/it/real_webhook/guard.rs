//! No spelling of a private address gets through, no answer of a resolver and no redirect leads to one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thermocline::real::webhook::guard::{Allow, Looking, Lookup, SystemLookup, check_url, not_public};
use thermocline::real::webhook::post::{Poster, Tried};

use super::*;

fn allow(entries: &[&str]) -> Allow {
    Allow::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
}

const REFUSED: &[&str] = &[
    // Schemes and shapes.
    "",
    "example.org",
    "//example.org/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org:70/_x",
    "unix:/run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,x",
    "http://",
    "http:///",
    "http://?x",
    "http://example.org:0/",
    "http://example.org:99999/",
    "http://exa mple.org/",
    "http://example.org/\n",
    "http://exam\tple.org/",
    "http://example.org\\@127.0.0.1/",
    "http://user@example.org/",
    "http://user:secret@example.org/",
    "http://@example.org/",
    "http://example.org@127.0.0.1/",
    "http://127.0.0.1@example.org/",
    // Loopback in every notation.
    "http://127.0.0.1/",
    "https://127.0.0.1:8443/x",
    "HTTP://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://127.0.0.1:80#@example.org/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://%31%32%37.0.0.1/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::1]/",
    "http://[2a00::5efe:127.0.0.1]/",
    "http://[2a00::200:5efe:10.0.0.1]/",
    // Unspecified, private, carrier, link-local, metadata.
    "http://0/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://[::]/",
    "http://[::0.0.0.0]/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://3232235777/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[fd00:ec2::254]/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fdff:ffff::1]/",
    // Reserved, documentation, benchmarks, multicast, broadcast.
    "http://192.0.2.1/",
    "http://198.51.100.7/",
    "http://203.0.113.9/",
    "http://198.18.0.1/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    "http://[2001:10::1]/",
    "http://[5f00::1]/",
];

const ALLOWED: &[&str] = &[
    "http://example.org/",
    "https://example.org:8443/hook?id=1#x",
    "HTTPS://EXAMPLE.ORG/%0d%0a",
    "http://example.org/a@b",
    "http://8.8.8.8/",
    "http://134744072/",
    "http://100.63.255.255/",
    "http://100.128.0.0/",
    "http://172.15.0.1/",
    "http://172.32.0.1/",
    "http://192.169.0.1/",
    "http://[2606:4700::1111]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[64:ff9b::8.8.8.8]/",
    "http://xn--bcher-kva.example/",
    // Names are judged by their addresses, when they are resolved.
    "http://localhost/",
    "http://metadata.google.internal/",
];

#[test]
fn every_spelling_of_an_address_that_is_not_public_is_refused() {
    let none = Allow::default();
    for url in REFUSED {
        assert!(check_url(url, &none).is_err(), "{url:?} passes as {:?}", check_url(url, &none).map(String::from));
    }
    assert!(check_url(&format!("http://example.org/{}", "a".repeat(2_048)), &none).is_err());
    for url in ALLOWED {
        assert!(check_url(url, &none).is_ok(), "{url}: {:?}", check_url(url, &none));
    }
}

#[test]
fn the_allow_list_opens_what_it_names_and_nothing_beside_it() {
    let list = allow(&["10.1.0.0/16", "127.0.0.1", "[::1]", "fd00::/8", "Build.internal", "192.168.0.0/31"]);
    for url in
        ["http://10.1.2.3/", "http://127.1/", "http://[::1]:9/", "http://[fd12::1]/", "http://[::ffff:10.1.0.1]/"]
    {
        assert!(check_url(url, &list).is_ok(), "{url}: {:?}", check_url(url, &list));
    }
    for url in ["http://10.2.0.1/", "http://127.0.0.2/", "http://[::2]/", "http://[fc00::1]/", "http://192.168.0.2/"] {
        assert!(check_url(url, &list).is_err(), "{url}");
    }
    for wrong in ["10.0.0.0/33", "10.0.0.0/x", "::/129", "a b", "http://x/", "host/8", "", "localhost:80", "1.2.3"] {
        let refused = Allow::parse(&[wrong.to_owned()]).unwrap_err();
        assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
    }
    for everything in ["0.0.0.0/0", "::/0"] {
        let address = if everything.contains(':') { "fd00::1" } else { "10.0.0.1" };
        assert_eq!(allow(&[everything]).refuses(address.parse().unwrap()), None);
    }
    assert_eq!(not_public("10.0.0.1".parse().unwrap()), Some("private address"));
}

/// A resolver that gives its answers one after the other, the last one for ever.
struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

impl Answers {
    fn new(answers: &[&[&str]]) -> Arc<Answers> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Answers(Mutex::new(answers.iter().map(parse).collect())))
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Lookup for Answers {
    fn lookup(&self, _: &str) -> Looking {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { Ok(answer.unwrap_or_default()) })
    }
}

fn poster(list: Allow, lookup: Arc<dyn Lookup>) -> Poster {
    Poster::new(list, lookup, Duration::from_secs(10)).unwrap()
}

fn loopback() -> Tried {
    Tried::Refused("loopback address".to_owned())
}

#[test]
fn a_name_is_resolved_once_and_the_call_goes_to_the_address_that_was_looked_at() {
    run(async {
        let (port, mut calls) = receiver("127.0.0.2", vec![status("200 OK")]).await;
        // Good when it is looked at; bad a moment later.
        let answers = Answers::new(&[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.2", "127.0.0.1"], &["10.0.0.1"]]);
        let poster = poster(allow(&["127.0.0.2"]), Arc::clone(&answers) as Arc<dyn Lookup>);
        let url = format!("http://rebind.example:{port}/");
        assert_eq!(poster.post(&url, b"{}".to_vec(), None).await, Tried::Answered(200));
        assert_eq!(answers.left(), 3, "one look-up for one call");
        let call = calls.recv().await.unwrap();
        assert_eq!(call.header("host"), Some(format!("rebind.example:{port}").as_str()));
        assert_eq!(poster.post(&url, Vec::new(), None).await, loopback());
        assert_eq!(poster.post(&url, Vec::new(), None).await, loopback(), "one bad address among good ones is enough");
        assert_eq!(poster.post(&url, Vec::new(), None).await, Tried::Refused("private address".to_owned()));
    });
}

#[test]
fn the_systems_names_for_this_machine_are_refused_unless_they_are_allowed() {
    run(async {
        let (port, mut calls) = receiver("127.0.0.1", vec![status("200 OK")]).await;
        let url = format!("http://localhost:{port}/");
        let strict = poster(Allow::default(), Arc::new(SystemLookup));
        assert_eq!(strict.post(&url, Vec::new(), None).await, loopback());
        let lenient = poster(allow(&["localhost"]), Arc::new(SystemLookup));
        assert_eq!(lenient.post(&url, Vec::new(), None).await, Tried::Answered(200));
        assert!(calls.recv().await.is_some() && calls.recv().await.is_none(), "one call came through");
    });
}

#[test]
fn a_redirect_is_an_answer_like_any_other() {
    run(async {
        let secret = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = format!("302 Found\r\nLocation: http://{}/", secret.local_addr().unwrap());
        let (port, _calls) = receiver("127.0.0.2", vec![status(&location)]).await;
        let poster = poster(allow(&["127.0.0.0/8"]), Arc::new(SystemLookup));
        assert_eq!(poster.post(&format!("http://127.0.0.2:{port}/"), Vec::new(), None).await, Tried::Answered(302));
        // Nobody is in the listener's queue: the next to come is the one that we send.
        let mut ours = TcpStream::connect(secret.local_addr().unwrap()).await.unwrap();
        ours.write_all(b"ours").await.unwrap();
        let mut first = [0; 4];
        secret.accept().await.unwrap().0.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"ours");
    });
}

#[test]
fn an_answer_without_an_end_is_read_for_64_kib_and_one_that_never_comes_for_the_time_allowed() {
    run(async {
        let mut endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
        endless.resize(64 << 20, b'x');
        let (port, _calls) = receiver("127.0.0.1", vec![endless]).await;
        let patient = poster(allow(&["127.0.0.1"]), Arc::new(SystemLookup));
        assert_eq!(patient.post(&format!("http://127.0.0.1:{port}/"), Vec::new(), None).await, Tried::Answered(200));

        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hasty = Poster::new(allow(&["127.0.0.1"]), Arc::new(SystemLookup), Duration::from_millis(50)).unwrap();
        let tried = hasty.post(&format!("http://{}/", silent.local_addr().unwrap()), Vec::new(), None).await;
        assert_eq!(tried, Tried::Failed("no complete answer in time".to_owned()));
        let closed = silent.local_addr().unwrap();
        drop(silent);
        let tried = patient.post(&format!("http://{closed}/"), Vec::new(), None).await;
        assert!(matches!(&tried, Tried::Failed(why) if why.starts_with("no connection: ")), "{tried:?}");
    });
}

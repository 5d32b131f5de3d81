//! Any user who can write the folder can write `id`. Therefore `id` never says where signed requests go.

use seawall::format::identity::Identity;
use seawall::format::ids::DatabaseId;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that keeps the requests that it receives, and answers each with an error.
struct Listener {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn new() -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| hear(stream, &kept)));
        Listener { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

fn hear(mut stream: TcpStream, kept: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = [0; 4096];
    let length = stream.read(&mut bytes).unwrap_or(0);
    kept.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
}

/// A database's folder with an `id` that names `coordinator`, with a correct checksum.
fn folder(name: &Path, coordinator: &str) {
    let folder = name.with_file_name("db.sqlite3-seawall");
    fs::create_dir_all(&folder).unwrap();
    fs::write(name, "").unwrap();
    let id = Identity::new(DatabaseId([7; 16]), coordinator.to_owned(), 4080);
    fs::write(folder.join("id"), id.to_string()).unwrap();
}

fn seawall(arguments: &[&str]) -> u8 {
    seawall_cli::run(["seawall"].iter().chain(arguments).map(OsString::from))
}

#[test]
fn no_request_goes_where_a_file_says() {
    // In a process of its own, whose environment has credentials.
    if std::env::var_os("HAS_CREDENTIALS").is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "no_request_goes_where_a_file_says"]).env("HAS_CREDENTIALS", "yes");
        child.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        child.env("AWS_SESSION_TOKEN", "the-session-token").env("AWS_REGION", "us-east-1");
        let done = child.output().unwrap();
        let printed = String::from_utf8_lossy(&done.stdout);
        assert!(
            done.status.success() && printed.contains("1 passed"),
            "{printed}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        return;
    }
    seawall_dynamodb::register();
    let listener = Listener::new();
    let place = tempfile::tempdir().unwrap();
    let name = place.path().join("db.sqlite3");
    let path = name.to_str().unwrap();
    let endpoint = format!("http://127.0.0.1:{}", listener.port);

    // An endpoint that the user names is used. This also shows that the server keeps its requests.
    let asked = format!("dynamodb://locks?region=us-east-1&endpoint={endpoint}");
    assert_eq!(seawall(&["doctor", path, "--coordinator", &asked]), 1);
    assert!(listener.heard().iter().any(|request| request.contains("the-session-token")), "the listener works");

    for hostile in [
        asked.clone(),
        format!("dynamodb://locks?endpoint={endpoint}"),
        format!("dynamodb://locks?region=us-east-1&endpoint=http%3A%2F%2F127.0.0.1:{}", listener.port),
        format!("dynamodb://user:password@locks?region=us-east-1&endpoint={endpoint}"),
    ] {
        folder(&name, &hostile);
        assert_eq!(seawall(&["doctor", path]), 1);
        assert_eq!(seawall(&["doctor", "--json", path]), 1);
        seawall::remove(&name, None).unwrap();
        assert_eq!(listener.heard(), Vec::<String>::new(), "{hostile}");
    }
}

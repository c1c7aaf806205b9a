//! Serves the pages and runs one in headless Chromium until it reports.
//!
//! A page's only duty is to POST its result, as text, to `/report`. HTTP/1.0 over std is all this takes: one request a
//! connection, no framework, no driver protocol.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// The largest report that is read, in bytes.
const MAX_REPORT: u64 = 64 << 20;

/// An HTTP server on this machine, until the process ends.
pub struct Server {
    address: SocketAddr,
    reports: Receiver<String>,
}

impl Server {
    /// Serves the files below `folder`, and before them `extra`: texts by path (`/shaders.json`).
    /// `port` 0 takes any free one.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(folder: &Path, extra: HashMap<String, String>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let (sender, reports) = mpsc::channel();
        let content = Arc::new((folder.to_path_buf(), extra));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, sender) = (Arc::clone(&content), sender.clone());
                // A browser may open connections ahead of need, so that one must not hold up the next.
                thread::spawn(move || answer(&stream, &content.0, &content.1, &sender));
            }
        });
        Ok(Self { address, reports })
    }

    /// The address of a page.
    pub fn url(&self, page: &str) -> String {
        format!("http://localhost:{}/{page}", self.address.port())
    }
}

/// Answers one request; an unreadable one is dropped, which the browser sees as a failed load.
fn answer(
    stream: &TcpStream,
    folder: &Path,
    extra: &HashMap<String, String>,
    reports: &Sender<String>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0).min(MAX_REPORT);
        }
    }
    let path = target.split(['?', '#']).next().unwrap_or("");
    if method == "POST" {
        let mut report = String::new();
        reader.take(length).read_to_string(&mut report)?;
        // Nobody listens when the pages are only served.
        let _ = reports.send(report);
        return respond(stream, "204 No Content", "text/plain", b"");
    }
    match extra.get(path) {
        Some(text) => respond(stream, "200 OK", mime(path), text.as_bytes()),
        None => match fs::read(file_of(folder, path)) {
            Ok(bytes) => respond(stream, "200 OK", mime(path), &bytes),
            Err(_) => respond(stream, "404 Not Found", "text/plain", b"no such file"),
        },
    }
}

/// The file behind a path: its plain components only, so that none leads out of the folder.
fn file_of(folder: &Path, path: &str) -> PathBuf {
    let plain = Path::new(path)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    let file = folder.join(plain.collect::<PathBuf>());
    if path.ends_with('/') {
        file.join("index.html")
    } else {
        file
    }
}

fn respond(mut stream: &TcpStream, status: &str, mime: &str, body: &[u8]) -> io::Result<()> {
    // The two Cross-Origin lines make the page isolated, which gives it a finer clock.
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {mime}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// The content type by a path's ending; browsers insist on those of modules and wasm.
fn mime(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        Some("css") => "text/css",
        Some("html") => "text/html; charset=utf-8",
        _ if path.ends_with('/') => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Opens `page` of the server in headless Chromium on its software WebGPU adapter and waits for the report.
///
/// # Errors
/// There is no Chromium (`CHROMIUM` names one that is not in the path), or no report came in time; the message then ends
/// with what the browser wrote, console messages included.
pub fn run(server: &Server, page: &str, timeout: Duration) -> io::Result<String> {
    let browser = Browser::open(&server.url(page))?;
    match server.reports.recv_timeout(timeout) {
        Ok(report) => Ok(report),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the server stopped")),
        Err(RecvTimeoutError::Timeout) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "{page} sent no report in {timeout:?}; the browser wrote:\n{}",
                browser.log()
            ),
        )),
    }
}

/// A running Chromium with a profile of its own, ended and cleaned up on drop.
struct Browser {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    fn open(url: &str) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile =
            env::temp_dir().join(format!("tilewright-page-{}-{number}", std::process::id()));
        fs::create_dir_all(&profile)?;
        let child = Command::new(program()?)
            .arg(format!("--user-data-dir={}", profile.display()))
            // Root may not use Chromium's sandbox, and containers lack what it needs; the pages are our own.
            .args([
                "--headless=new",
                "--no-sandbox",
                "--no-first-run",
                "--disable-dev-shm-usage",
            ])
            .args(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--enable-logging=stderr", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(profile.join("stderr"))?)
            .spawn()?;
        Ok(Self { child, profile })
    }

    /// What the page wrote to the console; if nothing, the last 20 lines of the browser's own complaints.
    fn log(&self) -> String {
        let text = fs::read(self.profile.join("stderr")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let (console, own): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.contains(":CONSOLE:"));
        let lines = if console.is_empty() { own } else { console };
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail only where the browser has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// Chromium's program: `CHROMIUM`, else the first known name in the path.
fn program() -> io::Result<OsString> {
    if let Some(given) = env::var_os("CHROMIUM") {
        return Ok(given);
    }
    let folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| folders.iter().any(|folder| folder.join(name).is_file()))
        .map(OsString::from)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "no Chromium in the path, and CHROMIUM is not set",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn serves_files_texts_and_takes_reports() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
        let extra = HashMap::from([("/shaders.json".to_owned(), "[]".to_owned())]);
        let server = Server::start(&folder, extra, 0).unwrap();
        let page = get(&server, "GET /report.js?x=1 HTTP/1.1\r\n\r\n");
        assert!(
            page.starts_with("HTTP/1.0 200 OK\r\nContent-Type: text/javascript\r\n"),
            "{page}"
        );
        assert!(page.ends_with(&fs::read_to_string(folder.join("report.js")).unwrap()));
        assert!(get(&server, "GET /shaders.json HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n[]"));
        assert!(get(&server, "GET /nothing HTTP/1.1\r\n\r\n").starts_with("HTTP/1.0 404"));
        let sent = get(
            &server,
            "POST /report HTTP/1.1\r\nContent-Length: 4\r\n\r\nfine",
        );
        assert!(sent.starts_with("HTTP/1.0 204"), "{sent}");
        assert_eq!(
            server.reports.recv_timeout(Duration::from_secs(5)).unwrap(),
            "fine"
        );
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let folder = Path::new("pages");
        assert_eq!(
            file_of(folder, "/../../etc/passwd"),
            Path::new("pages/etc/passwd")
        );
        assert_eq!(
            file_of(folder, "//etc/./passwd"),
            Path::new("pages/etc/passwd")
        );
        assert_eq!(file_of(folder, "/"), Path::new("pages/index.html"));
    }
}

//! Serves a folder of pages at http://localhost:8017/: `serve FOLDER [PORT]`. Used by `./x web`.

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::io::Result<()> {
    use std::{collections::HashMap, env, path::Path, thread};
    use tilewright_web::page::Server;

    let mut arguments = env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let port = arguments
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(8017);
    let server = Server::start(Path::new(&folder), HashMap::new(), port)?;
    println!("{}  (end with Ctrl-C)", server.url(""));
    loop {
        thread::park();
    }
}

#[cfg(target_arch = "wasm32")]
fn main() {}

//! As much of a hub as a client asks for when it fetches a model: the commit of a revision, the
//! tree of a commit, the head and the body of a file.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const FIRST_COMMIT: &str = "1111111111111111111111111111111111111111";
pub(crate) const SECOND_COMMIT: &str = "2222222222222222222222222222222222222222";

const FILES: [&str; 20] = [
    ".gitattributes",
    "1_Pooling/config.json",
    "2_Dense/model.safetensors",
    "README.md",
    "chat_template.jinja",
    "config.json",
    "config_sentence_transformers.json",
    "consolidated.safetensors",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "modules.json",
    "onnx/config.json",
    "onnx/model.safetensors",
    "pytorch_model.bin",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// One request, as far as the tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// The file whose body ends half-way.
    broken: Option<String>,
    is_stopped: bool,
}

/// A hub with one model, `acme/tiny`; it is gone when this is dropped.
pub(crate) struct Hub {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().is_stopped {
                    return;
                }
                answer(stream.unwrap(), &shared);
            }
        });
        Self { port, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self, method: &str) -> Vec<Request> {
        let requests = self.state.lock().unwrap().requests.clone();
        requests
            .into_iter()
            .filter(|r| r.method == method)
            .collect()
    }

    pub(crate) fn content(&self, file: &str) -> Vec<u8> {
        content(file)
    }

    pub(crate) fn break_off(&self, file: &str) {
        self.state.lock().unwrap().broken = Some(file.into());
    }

    pub(crate) fn mend(&self) {
        self.state.lock().unwrap().broken = None;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.lock().unwrap().is_stopped = true;
        // Wakes the listener, which then closes.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn content(file: &str) -> Vec<u8> {
    format!("the content of {file}\n").repeat(100).into_bytes()
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(request) = read(&stream) else {
        return;
    };
    let broken = state.lock().unwrap().broken.clone();
    let is_head = request.method == "HEAD";
    let (head, mut body) = respond(&request.path);
    if is_head {
        body.clear();
    } else if broken.is_some_and(|file| request.path.ends_with(&file)) {
        // The files before it shall be there by then.
        std::thread::sleep(Duration::from_secs(1));
        body.truncate(body.len() / 2);
    }
    state.lock().unwrap().requests.push(request);
    // A client that hangs up early is its own affair.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let authorization = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.to_owned())
    });
    Some(Request {
        method,
        path,
        authorization,
    })
}

/// Head and whole body of the answer.
fn respond(path: &str) -> (String, Vec<u8>) {
    let path = path.split('?').next().unwrap_or(path);
    if let Some(revision) = path.strip_prefix("/api/models/acme/tiny/revision/") {
        let commit = match revision {
            "v2" | SECOND_COMMIT => SECOND_COMMIT,
            _ => FIRST_COMMIT,
        };
        return ok(format!("{{\"sha\": \"{commit}\"}}").into_bytes(), "");
    }
    if path.starts_with("/api/models/acme/tiny/tree/") {
        return ok(tree().into_bytes(), "");
    }
    if let Some(rest) = path.strip_prefix("/acme/tiny/resolve/") {
        let (commit, file) = rest.split_once('/').unwrap();
        let extra = format!(
            "ETag: \"{}\"\r\nX-Repo-Commit: {commit}\r\n",
            file.replace('/', "-")
        );
        return ok(content(file), &extra);
    }
    let status = match path {
        _ if path.starts_with("/api/models/acme/private") => "401 Unauthorized",
        _ if path.starts_with("/api/models/acme/gated") => "403 Forbidden",
        _ => "404 Not Found",
    };
    (message(status, 0, ""), Vec::new())
}

fn tree() -> String {
    let entry = |file: &&str| {
        let size = content(file).len();
        format!("{{\"type\": \"file\", \"oid\": \"0\", \"size\": {size}, \"path\": \"{file}\"}}")
    };
    let entries: Vec<String> = FILES.iter().map(entry).collect();
    format!("[{}]", entries.join(","))
}

fn ok(body: Vec<u8>, extra: &str) -> (String, Vec<u8>) {
    (message("200 OK", body.len(), extra), body)
}

fn message(status: &str, length: usize, extra: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{extra}\r\n")
}

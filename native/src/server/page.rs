//! The playground page, carried inside the binary.

use std::{collections::BTreeMap, fmt};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use include_dir::{Dir, include_dir};

static DIST: Dir<'static> = include_dir!("$MESHGROUND_DIST");

/// What `/` says when this binary was built without a page.
const NO_PAGE: &str = "This meshground was built without its page. Build and run it with\n\n    \
                       cargo xtask demo\n\nThe WebSocket at /ws works all the same.\n";

/// A built page: its files by path, ready to be served.
#[derive(Clone, Default)]
pub struct Page {
    files: BTreeMap<String, File>,
}

#[derive(Clone)]
struct File {
    bytes: Bytes,
    mime: &'static str,
    /// A strong validator, quotes included.
    etag: HeaderValue,
    /// Whether its name changes with its content.
    hashed: bool,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

impl Page {
    /// The page this binary was built with; without any file if there was none.
    pub fn embedded() -> Self {
        let mut page = Self::default();
        page.add_dir(&DIST);
        page
    }

    /// A page of these files, by path relative to the root.
    pub fn from_files<P: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        let mut page = Self::default();
        for (path, bytes) in files {
            page.add(path.into(), Bytes::from(bytes.into()));
        }
        page
    }

    /// Whether there is a page to serve.
    pub fn is_built(&self) -> bool {
        self.files.contains_key("index.html")
    }

    fn add_dir(&mut self, dir: &'static Dir<'static>) {
        for file in dir.files() {
            // What a build leaves half-written has a name that begins with a dot.
            if let Some(path) = file.path().to_str().filter(|path| !path.starts_with('.')) {
                self.add(path.replace('\\', "/"), Bytes::from_static(file.contents()));
            }
        }
        for dir in dir.dirs().filter(|dir| !dir.path().to_string_lossy().starts_with('.')) {
            self.add_dir(dir);
        }
    }

    fn add(&mut self, path: String, bytes: Bytes) {
        let file = File { mime: mime_of(&path), etag: etag_of(&bytes), hashed: is_hashed(&path), bytes };
        self.files.insert(path, file);
    }

    /// Answers a GET for `path`, which begins with a slash.
    pub(crate) fn answer(&self, path: &str, request: &HeaderMap) -> Response<Body> {
        if !self.is_built() {
            return text(StatusCode::SERVICE_UNAVAILABLE, NO_PAGE);
        }
        let path = match path.trim_start_matches('/') {
            "" => "index.html",
            path => path,
        };
        let Some(file) = self.files.get(path) else {
            return text(StatusCode::NOT_FOUND, "There is nothing here. The page is at /.\n");
        };
        let unchanged = request.get(header::IF_NONE_MATCH).is_some_and(|theirs| theirs == file.etag);
        let (status, body) = if unchanged {
            (StatusCode::NOT_MODIFIED, Body::empty())
        } else {
            (StatusCode::OK, Body::from(file.bytes.clone()))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.mime));
        headers.insert(header::ETAG, file.etag.clone());
        let cache = if file.hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}

/// A plain-text answer that nobody keeps.
pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn mime_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        // Anything else, and a browser will not compile it while it loads.
        Some("wasm") => "application/wasm",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn etag_of(bytes: &[u8]) -> HeaderValue {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut start = [0; 16];
    start.copy_from_slice(&digest.as_ref()[..16]);
    let etag = format!("\"{:032x}\"", u128::from_be_bytes(start));
    // Digits and quotes are fit for a header.
    HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether a part of the path is of the form `name-<16 or more hexadecimal digits>`, as
/// Trunk names what it hashes.
fn is_hashed(path: &str) -> bool {
    path.split(['-', '_', '.', '/'])
        .skip(1)
        .any(|part| part.len() >= 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::from_files([
            ("index.html", "<!doctype html>"),
            ("boot.js", "start()"),
            ("web_bg.wasm", "\0asm"),
            ("style-0123456789abcdef.css", "a{}"),
            ("snippets/lib-0123456789abcdef/inline0.js", "x"),
        ])
    }

    fn header_of(response: &Response<Body>, name: header::HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[test]
    fn without_a_built_page_the_answer_names_the_command_to_run() {
        for page in [Page::default(), Page::from_files([(".stage", "x")])] {
            assert!(!page.is_built());
            let response = page.answer("/", &HeaderMap::new());
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert!(NO_PAGE.contains("cargo xtask demo"));
    }

    #[test]
    fn each_file_has_the_type_a_browser_insists_on() {
        for (path, mime) in [
            ("/", "text/html; charset=utf-8"),
            ("/index.html", "text/html; charset=utf-8"),
            ("/boot.js", "text/javascript; charset=utf-8"),
            ("/web_bg.wasm", "application/wasm"),
            ("/style-0123456789abcdef.css", "text/css; charset=utf-8"),
        ] {
            let response = page().answer(path, &HeaderMap::new());
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header_of(&response, header::CONTENT_TYPE), mime, "{path}");
        }
    }

    #[test]
    fn what_is_named_by_its_content_is_kept_and_all_else_is_asked_for_again() {
        for (path, kept) in [
            ("/", false),
            ("/boot.js", false),
            ("/web_bg.wasm", false),
            ("/style-0123456789abcdef.css", true),
            ("/snippets/lib-0123456789abcdef/inline0.js", true),
        ] {
            let response = page().answer(path, &HeaderMap::new());
            let cache = header_of(&response, header::CACHE_CONTROL);
            assert_eq!(cache.contains("immutable"), kept, "{path}: {cache}");
            assert_eq!(cache == "no-cache", !kept, "{path}: {cache}");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_twice() {
        let first = page().answer("/boot.js", &HeaderMap::new());
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(page().answer("/boot.js", &request).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(page().answer("/", &request).status(), StatusCode::OK);
    }

    #[test]
    fn an_unknown_path_is_not_found() {
        for path in ["/nope", "/../Cargo.toml", "/boot.js/"] {
            assert_eq!(page().answer(path, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}

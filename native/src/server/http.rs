//! The HTTP side: the page, `/healthz` and the way to the WebSocket.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, Response, StatusCode, header},
    middleware::{self, Next},
    routing::get,
};
use serde::Serialize;

use super::{App, guard, page::text, upgrade};

/// Everything the server answers, behind the guard.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/ws", get(upgrade::upgrade))
        .fallback(page)
        .layer(middleware::from_fn(protect))
        .with_state(app)
}

/// Lets in whom the guard lets in, and tells browsers to be strict with the answer.
async fn protect(request: Request, next: Next) -> Response<Body> {
    let (mut response, host) = match guard::check(request.uri(), request.headers()) {
        Ok(host) => {
            let host = host.to_owned();
            (next.run(request).await, Some(host))
        }
        Err(refusal) => (text(StatusCode::FORBIDDEN, format!("{refusal}\n")), None),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy(host.as_deref()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

/// What the page may do: run its own scripts and WASM, and talk to this server.
fn policy(host: Option<&str>) -> HeaderValue {
    const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let Some(host) = host else { return NOTHING };
    // Not every browser takes `'self'` to include WebSockets.
    let policy = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
         font-src 'self'; manifest-src 'self'; connect-src 'self' ws://{host}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(NOTHING)
}

async fn page(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "The page can only be read.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    app.page.answer(request.uri().path(), request.headers())
}

/// Body of `/healthz`.
#[derive(Debug, Serialize)]
struct HealthReport {
    status: &'static str,
    version: &'static str,
    nodes: usize,
    converged: bool,
}

/// Says that the server answers, and how its cluster is. A cluster in trouble is no
/// trouble of the server's, so the status stays `ok`.
async fn health(State(app): State<Arc<App>>) -> Response<Body> {
    // Anybody may ask as often as they like: nothing is copied for it.
    let (nodes, converged) =
        app.room.log().with_snapshot(|snapshot| (snapshot.nodes.len(), snapshot.is_converged()));
    let report = HealthReport { status: "ok", version: env!("CARGO_PKG_VERSION"), nodes, converged };
    match serde_json::to_string(&report) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_may_connect_to_the_server_it_came_from_and_to_no_other() {
        let policy = policy(Some("127.0.0.1:7777"));
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' ws://127.0.0.1:7777;"));
        assert!(policy.contains("default-src 'none'"));
        assert!(!policy.contains("unsafe-inline"));
    }
}

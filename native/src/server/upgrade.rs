//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).
//!
//! axum's own extractor keeps the socket to itself. This server needs it at the
//! end of a connection: a client that is still sending must be able to read why
//! it was cut off, and closing a socket with unread data would take that away.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use meshground_shared::rpc::SUBPROTOCOL;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{App, connection, headers::list, page::text};

/// Answers a GET of `/ws`.
pub(crate) async fn upgrade(State(app): State<Arc<App>>, mut request: Request) -> Response<Body> {
    let (key, subprotocol) = match read(request.method(), request.headers()) {
        Ok(handshake) => handshake,
        Err((status, why)) => {
            let mut response = text(status, format!("{why}\n"));
            if status == StatusCode::UPGRADE_REQUIRED {
                let headers = response.headers_mut();
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            return response;
        }
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return text(StatusCode::UPGRADE_REQUIRED, "A WebSocket needs an HTTP/1.1 connection.\n");
    };
    let Ok(place) = Arc::clone(&app.clients).try_acquire_owned() else {
        let limit = app.limits.max_clients;
        let why = format!("This server takes {limit} clients at a time, and has them. Close one of them.\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    tokio::spawn(async move {
        // Only a client that has gone away fails here.
        let Ok(upgraded) = on_upgrade.await else { return };
        let hard = app.limits.hard_message_bytes as usize;
        let config = WebSocketConfig::default().max_message_size(Some(hard)).max_frame_size(Some(hard));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        connection::serve(socket, &app).await;
        drop(place);
    });

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    if let Some(subprotocol) = subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}

/// What `Sec-WebSocket-Accept` and `Sec-WebSocket-Protocol` of the answer must be.
type Handshake = (HeaderValue, Option<&'static str>);

fn read(method: &Method, headers: &HeaderMap) -> Result<Handshake, (StatusCode, String)> {
    let asks = |name, what: &str| list(headers, &name).any(|item: &str| item.eq_ignore_ascii_case(what));
    // A route for GET takes HEAD as well, but only a GET can become a WebSocket (RFC 6455, section 4.1).
    let is_get = *method == Method::GET;
    if !is_get || !asks(header::CONNECTION, "upgrade") || !asks(header::UPGRADE, "websocket") {
        let why = "This is the address of the WebSocket: connect to it with a WebSocket client.";
        return Err((StatusCode::UPGRADE_REQUIRED, why.to_owned()));
    }
    if !asks(header::SEC_WEBSOCKET_VERSION, "13") {
        let why = "Only version 13 of the WebSocket protocol (RFC 6455) is spoken here.";
        return Err((StatusCode::UPGRADE_REQUIRED, why.to_owned()));
    }
    let accept = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok())
        .ok_or_else(|| (StatusCode::BAD_REQUEST, "The header Sec-WebSocket-Key is missing.".to_owned()))?;
    let mut offered = list(headers, &header::SEC_WEBSOCKET_PROTOCOL).peekable();
    // A client that names no subprotocol takes what there is.
    if offered.peek().is_none() {
        return Ok((accept, None));
    }
    if offered.any(|name| name == SUBPROTOCOL) {
        return Ok((accept, Some(SUBPROTOCOL)));
    }
    let why = format!("None of the offered subprotocols is spoken here; offer {SUBPROTOCOL:?}, or none.");
    Err((StatusCode::BAD_REQUEST, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers
    }

    fn handshake(protocols: &[&str]) -> Result<Option<&'static str>, StatusCode> {
        let mut headers = offer();
        for protocols in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
        }
        let (accept, subprotocol) = read(&Method::GET, &headers).map_err(|(status, _)| status)?;
        // RFC 6455, section 1.3.
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        Ok(subprotocol)
    }

    #[test]
    fn the_subprotocol_is_chosen_from_what_the_client_offers() {
        assert_eq!(handshake(&[]), Ok(None));
        assert_eq!(handshake(&[SUBPROTOCOL]), Ok(Some(SUBPROTOCOL)));
        assert_eq!(handshake(&["graphql-ws, meshground.v1+json"]), Ok(Some(SUBPROTOCOL)));
        assert_eq!(handshake(&["graphql-ws", "meshground.v1+json"]), Ok(Some(SUBPROTOCOL)));
        assert_eq!(handshake(&["graphql-ws"]), Err(StatusCode::BAD_REQUEST));
        assert_eq!(handshake(&["meshground.v2+json"]), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn a_plain_request_is_told_that_this_is_a_websocket() {
        let refused = read(&Method::GET, &HeaderMap::new()).unwrap_err();
        assert_eq!(refused.0, StatusCode::UPGRADE_REQUIRED);
        assert!(refused.1.contains("WebSocket"));
    }

    #[test]
    fn only_a_get_becomes_a_websocket() {
        assert!(read(&Method::GET, &offer()).is_ok());
        assert_eq!(read(&Method::HEAD, &offer()).unwrap_err().0, StatusCode::UPGRADE_REQUIRED);
    }
}

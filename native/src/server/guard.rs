//! Who may talk to the server: programs on this machine, and its own page.
//!
//! Listening on loopback keeps other machines out, but not other people's web
//! pages: any page in a browser on this machine can send requests to
//! `127.0.0.1`, and with DNS rebinding it can do so under a name of its own. So
//! every request must name this machine in `Host`, and one that a browser marks
//! with an `Origin` must come from the page that this very server served.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, Uri, header};

/// Why a request is refused, as the text of a 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not exactly one readable `Host`.
    #[error("this request must carry exactly one Host header")]
    NoHost,
    /// `Host` (or the request's own URI) names something else than this machine.
    #[error(
        "the host {0:?} is not this machine: open the address that meshground printed, such as \
         http://127.0.0.1:7777"
    )]
    ForeignHost(String),
    /// Not at most one readable `Origin`.
    #[error("this request carries an Origin header that cannot be read; send one in plain text, or none")]
    UnreadableOrigin,
    /// Another page than the one this server serves.
    #[error("pages from {origin:?} may not talk to this server; only {expected:?} may")]
    ForeignOrigin {
        /// What the browser said.
        origin: String,
        /// What would have been right.
        expected: String,
    },
}

/// Checks where a request is addressed to and which page, if any, sent it. Gives
/// back the host as the client wrote it.
///
/// An absent `Origin` is a program, which could connect anyway, and is welcome.
pub(crate) fn check<'a>(uri: &Uri, headers: &'a HeaderMap) -> Result<&'a str, Refusal> {
    let Ok(Some(host)) = only(headers, header::HOST) else { return Err(Refusal::NoHost) };
    if !is_this_machine(host) {
        return Err(Refusal::ForeignHost(shorten(host)));
    }
    // A request line with a full URI overrides Host (RFC 9112, section 3.2.2).
    if let Some(authority) = uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(host)
    {
        return Err(Refusal::ForeignHost(shorten(authority.as_str())));
    }
    match only(headers, header::ORIGIN) {
        Ok(None) => Ok(host),
        Ok(Some(origin)) => {
            let expected = format!("http://{host}");
            if origin.eq_ignore_ascii_case(&expected) {
                Ok(host)
            } else {
                Err(Refusal::ForeignOrigin { origin: shorten(origin), expected })
            }
        }
        Err(()) => Err(Refusal::UnreadableOrigin),
    }
}

/// The header's only value; `Err` when there are several or it is no plain text.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    value.to_str().map(Some).map_err(|_| ())
}

/// Whether `host` is `localhost` or a loopback address in its usual spelling, with
/// or without a port. Any port: it may be forwarded, and a rebound name is caught
/// by the name.
fn is_this_machine(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        let port_is_fine = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return port_is_fine && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Enough of a stranger's text to recognise it.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(hosts: &[&str], origins: &[&str]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        check(&Uri::from_static("/ws"), &headers).map(drop)
    }

    #[test]
    fn a_program_on_this_machine_is_welcome_under_each_of_its_names() {
        for host in [
            "127.0.0.1:7777",
            "127.0.0.1",
            "127.8.9.10:1",
            "localhost:7777",
            "localhost",
            "LocalHost:9000",
            "[::1]:7777",
            "[::1]",
        ] {
            assert_eq!(verdict(&[host], &[]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_name_that_is_not_this_machine_is_refused_whatever_it_resolves_to() {
        for host in [
            "",
            "evil.com",
            "rebound.evil.com:7777",
            "localhost.evil.com:7777",
            "evil-localhost:7777",
            "localhost.:7777",
            "foo.localhost:7777",
            "127.0.0.1.evil.com:7777",
            "127.0.0.1@evil.com",
            "127.0.0.1:7777:7777",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:+80",
            "127.0.0.1:99999",
            "127.0.0.1:x",
            "0.0.0.0:7777",
            "192.168.1.5:7777",
            "127.1:7777",
            "2130706433",
            "::1",
            "[::1",
            "[::1]7777",
            "[::1]:",
            "[::1].evil.com",
            "[::]:7777",
            "[::ffff:127.0.0.1]:7777",
            "[fe80::1]:7777",
        ] {
            let refused = verdict(&[host], &[]);
            assert!(matches!(refused, Err(Refusal::ForeignHost(_))), "{host:?}: {refused:?}");
        }
    }

    #[test]
    fn a_request_without_exactly_one_host_is_refused() {
        assert_eq!(verdict(&[], &[]), Err(Refusal::NoHost));
        assert_eq!(verdict(&["127.0.0.1:7777", "evil.com"], &[]), Err(Refusal::NoHost));
    }

    #[test]
    fn the_servers_own_page_is_welcome() {
        for (host, origin) in [
            ("127.0.0.1:7777", "http://127.0.0.1:7777"),
            ("localhost:7777", "http://localhost:7777"),
            ("LOCALHOST:7777", "http://localhost:7777"),
            ("localhost", "http://localhost"),
            ("[::1]:7777", "http://[::1]:7777"),
        ] {
            assert_eq!(verdict(&[host], &[origin]), Ok(()), "{origin} on {host}");
        }
    }

    #[test]
    fn any_other_page_is_refused() {
        for origin in [
            "null",
            "",
            "http://evil.com",
            "https://127.0.0.1:7777",
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://127.0.0.1:77777",
            "http://localhost:7777",
            "http://localhost.evil.com:7777",
            "http://127.0.0.1:7777/",
            "http://127.0.0.1:7777.evil.com",
            "http://user@127.0.0.1:7777",
            "file://",
        ] {
            let refused = verdict(&["127.0.0.1:7777"], &[origin]);
            assert!(matches!(refused, Err(Refusal::ForeignOrigin { .. })), "{origin:?}: {refused:?}");
        }
        let two = verdict(&["127.0.0.1:7777"], &["http://127.0.0.1:7777", "http://evil.com"]);
        assert_eq!(two, Err(Refusal::UnreadableOrigin));
    }

    #[test]
    fn a_full_uri_must_agree_with_host() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:7777".parse().unwrap());
        let own = Uri::from_static("http://127.0.0.1:7777/ws");
        assert_eq!(check(&own, &headers), Ok("127.0.0.1:7777"));
        let foreign = Uri::from_static("http://evil.com/ws");
        assert_eq!(check(&foreign, &headers), Err(Refusal::ForeignHost("evil.com".into())));
    }

    #[test]
    fn a_strangers_text_is_not_repeated_at_length() {
        let refused = verdict(&[&"x".repeat(5000)], &[]).unwrap_err();
        assert!(refused.to_string().len() < 300);
    }
}

//! What a plugin may ask to be sent.

use salve_model::{call::HttpRequest, text::escape};
use std::collections::BTreeSet;

/// Headers that are the host's or the connection's, whatever a grant says.
const HOST_HEADERS: [&str; 15] = [
    "host",
    "authorization",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "idempotency-key",
    "accept-encoding",
    "forwarded",
    "proxy-authorization",
    "proxy-connection",
];

/// Checks a request before anybody else looks at it.
///
/// # Errors
/// What is wrong, in one sentence.
pub(crate) fn check(request: &HttpRequest, is_read: bool, body_max_bytes: usize) -> Result<(), String> {
    let method = request.method.as_str();
    if method.is_empty() || method.len() > 20 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("method `{}` is not in capital letters", escape(method, 30)));
    }
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(format!("method `{method}` is never sent"));
    }
    if is_read != matches!(method, "GET" | "HEAD") {
        return Err(format!("method `{method}` belongs to `{}`", if is_read { "send" } else { "get" }));
    }
    check_path(&request.path)?;
    // Bounds name arguments, so a name stands for one value.
    let mut names = BTreeSet::new();
    let queries = request.query.iter().map(|(name, _)| format!("query {name}"));
    let headers = request.headers.iter().map(|(name, _)| format!("header {}", name.to_ascii_lowercase()));
    if let Some(twice) = queries.chain(headers).find(|name| !names.insert(name.clone())) {
        return Err(format!("{} is there twice", escape(&twice, 100)));
    }
    for (name, value) in &request.headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || name.len() > 100 || !name.bytes().all(token) {
            return Err(format!("`{}` is no header name", escape(name, 100)));
        }
        if HOST_HEADERS.contains(&lower.as_str())
            || lower.starts_with("proxy-")
            || lower.starts_with("x-forwarded-")
        {
            return Err(format!("header `{lower}` is the host's"));
        }
        let visible = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
        if value.len() > 4_096 || !value.bytes().all(visible) {
            return Err(format!("the value of header `{lower}` holds something other than visible ASCII"));
        }
    }
    if let Some(key) = &request.idempotency_key {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key.is_empty() || key.len() > 100 || !key.bytes().all(plain) {
            return Err("the idempotency key is not 1 to 100 letters, digits, `-`, `_`, `.`".into());
        }
    }
    if is_read && !request.body.is_empty() {
        return Err("a read has no body".into());
    }
    if request.body.len() > body_max_bytes {
        return Err(format!("the body is larger than {body_max_bytes} bytes"));
    }
    Ok(())
}

/// A path is absolute, is not rewritten by anybody, and means what it says.
fn check_path(path: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("path `{}` {why}", escape(path, 200)));
    if !path.starts_with('/') || path.len() > 2_000 {
        return wrong("does not begin with `/` or is longer than 2,000 bytes");
    }
    // RFC 3986, section 3.3: pchar and `/`.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
    if !path.bytes().all(allowed) {
        return wrong("holds a character that paths do not have; a query goes into `query`");
    }
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(rest.get(..at).unwrap_or_default());
        let code = rest.get(at + 1..at + 3).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) else {
            return wrong("has a `%` without two hex digits");
        };
        // Slashes, dots and `%` have their plain spelling; hidden ones have one purpose.
        if byte < b' ' || byte == 0x7f || b"/\\.%;".contains(&byte) {
            return wrong("hides a character that has a meaning in paths behind `%`");
        }
        decoded.push('_');
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    decoded.push_str(rest);
    let dots = |segment: &str| {
        segment == "." || segment == ".." || segment.starts_with("..;") || segment.starts_with(".;")
    };
    if decoded.split('/').any(dots) {
        return wrong("has a dot segment");
    }
    if path.contains("//") {
        return wrong("has an empty segment");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::TargetId;

    fn get(path: &str) -> HttpRequest {
        HttpRequest {
            target: TargetId("t".into()),
            method: "GET".into(),
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            idempotency_key: None,
        }
    }

    /// Guarantees: no spelling of a path can mean another path to the server than to the grant.
    #[test]
    fn path_tricks() {
        for good in ["/", "/api/v1", "/a%20b", "/a.b/..c/c..", "/%C3%BC", "/a:b@c"] {
            assert_eq!(check(&get(good), true, 10), Ok(()), "{good}");
        }
        for bad in [
            "",
            "api",
            "/..",
            "/../x",
            "/api/../admin",
            "/api/./x",
            "/api/.",
            "/%2e%2e/x",
            "/.%2e/x",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "//evil.example/x",
            "/a//b",
            "/a?b",
            "/a#b",
            "/a b",
            "/a\r\nHost: x",
            "/a%0d%0ab",
            "/a%00",
            "/%",
            "/%2",
            "/%zz",
            "/ü",
            "/..;/x",
            "/%252e",
            "/a%3bb",
            "http://evil.example/",
            "/a\u{7f}",
        ] {
            assert!(check(&get(bad), true, 10).is_err(), "{bad:?}");
        }
    }

    /// Guarantees: headers cannot name the host, break the line or carry credentials; methods cannot change role.
    #[test]
    fn header_and_method_tricks() {
        let with =
            |name: &str, value: &str| HttpRequest { headers: vec![(name.into(), value.into())], ..get("/") };
        assert_eq!(check(&with("x-reason", "a b"), true, 10), Ok(()));
        for (name, value) in [
            ("Host", "x"),
            ("host", "x"),
            ("Authorization", "x"),
            ("Transfer-Encoding", "chunked"),
            ("x\r\ny", "z"),
            ("x", "a\r\nHost: b"),
            ("x", "a\nb"),
            ("x", "a\0"),
            ("", "x"),
            ("x y", "z"),
            ("Content-Length", "1"),
            ("X-Forwarded-For", "x"),
            ("Proxy-Whatever", "x"),
        ] {
            assert!(check(&with(name, value), true, 10).is_err(), "{name:?} {value:?}");
        }
        for (method, is_read, fine) in [
            ("GET", true, true),
            ("HEAD", true, true),
            ("GET", false, false),
            ("POST", true, false),
            ("POST", false, true),
            ("DELETE", false, true),
            ("CONNECT", false, false),
            ("TRACE", false, false),
            ("post", false, false),
            ("P OST", false, false),
            ("", false, false),
        ] {
            let request = HttpRequest { method: method.into(), ..get("/") };
            assert_eq!(check(&request, is_read, 10).is_ok(), fine, "{method} {is_read}");
        }
        let large = HttpRequest { method: "POST".into(), body: vec![0; 11], ..get("/") };
        assert!(check(&large, false, 10).is_err());
    }
}

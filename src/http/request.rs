//! The head of a request.

use super::{FIELDS, HEAD_BYTES, Response};

/// A request: its head; a body is not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// GET or HEAD.
    pub method: String,
    /// The path, without what follows the first `?`.
    pub path: String,
    /// That.
    pub query: String,
    /// Its fields: the names in small letters.
    fields: Vec<(String, String)>,
}

/// What has come of a head so far.
pub(super) enum Head {
    /// There is more to come.
    Part,
    /// All of it.
    Whole(Request),
    /// It is none.
    Bad(Response),
}

impl Request {
    /// Takes a head apart.
    pub(super) fn parse(bytes: &[u8]) -> Head {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES => {
                Head::Bad(Response::refusal(431, "the head of the request is too long"))
            }
            Ok(httparse::Status::Partial) => Head::Part,
            Ok(httparse::Status::Complete(_)) => Self::of(&parsed).map_or_else(Head::Bad, Head::Whole),
            Err(httparse::Error::TooManyHeaders) => Head::Bad(Response::refusal(431, "too many fields")),
            Err(_) => Head::Bad(Response::refusal(400, "this is no request of HTTP/1.1")),
        }
    }

    fn of(parsed: &httparse::Request<'_, '_>) -> Result<Self, Response> {
        let bad = |why| Response::refusal(400, why);
        let method = parsed.method.unwrap_or_default().to_owned();
        let target = parsed.path.unwrap_or_default();
        if !["GET", "HEAD"].contains(&method.as_str()) {
            return Err(Response::refusal(405, "only GET and HEAD").field("Allow", "GET, HEAD"));
        }
        if !target.starts_with('/') {
            return Err(bad("the target has to be a path"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let fields = parsed.headers.iter().map(|field| {
            let value = std::str::from_utf8(field.value).map_err(|_| bad("a field is no text"))?;
            Ok((field.name.to_ascii_lowercase(), value.to_owned()))
        });
        let fields: Vec<(String, String)> = fields.collect::<Result<_, _>>()?;
        // RFC 9112, 3.2.
        let hosts = fields.iter().filter(|(name, _)| name == "host").count();
        if hosts > 1 || hosts == 0 && parsed.version == Some(1) {
            return Err(bad("a request has one field Host"));
        }
        Ok(Self { method, path: path.to_owned(), query: query.to_owned(), fields })
    }

    /// The first field of this name, which is given in small letters.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A value of the query, with its `%` escapes undone.
    pub fn asked(&self, name: &str) -> Option<String> {
        let pair = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pair.into_iter().find(|(known, _)| *known == name)?;
        let mut bytes = Vec::with_capacity(value.len());
        let mut rest = value.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                b'+' => b' ',
                byte => byte,
            });
        }
        String::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(text: &str) -> Result<Request, Option<u16>> {
        match Request::parse(text.as_bytes()) {
            Head::Part => Err(None),
            Head::Whole(request) => Ok(request),
            Head::Bad(response) => Err(Some(response.status)),
        }
    }

    #[test]
    fn heads_and_what_is_none() {
        let good = status("GET /a/b?port=x%231&w=2 HTTP/1.1\r\nHost: h\r\nOrigin: o\r\n\r\n").unwrap();
        assert_eq!((good.path.as_str(), good.field("origin"), good.field("cookie")), ("/a/b", Some("o"), None));
        assert_eq!((good.asked("port").as_deref(), good.asked("w").as_deref()), (Some("x#1"), Some("2")));
        assert_eq!((good.asked("x"), status("GET /?a=%f HTTP/1.0\r\n\r\n").unwrap().asked("a")), (None, None));
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(FIELDS));
        for (text, code) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n", None),
            ("", None),
            ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", Some(405)),
            ("GET / HTTP/1.1\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Some(400)),
            ("GET http://x/ HTTP/1.1\r\nHost: h\r\n\r\n", Some(400)),
            ("GET / HTTP/9.9\r\n\r\n", Some(400)),
            ("\x16\x03\x01\x02\x00", Some(400)),
            (&long, Some(431)),
            (&many, Some(431)),
        ] {
            assert_eq!(status(text).unwrap_err(), code, "{text:.60?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), query in "\\PC{0,20}") {
            let _ = Request::parse(&bytes);
            let text = format!("GET /?a={query} HTTP/1.1\r\nHost: h\r\n\r\n");
            if let Head::Whole(request) = Request::parse(text.as_bytes()) {
                let _ = request.asked("a");
            }
        }
    }
}

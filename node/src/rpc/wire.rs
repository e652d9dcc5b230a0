//! What travels on a call's stream. Layouts are in `PROTOCOL.md`.

use super::{MAX_BODY, MAX_METHOD, MAX_REASON};
use crate::packet::{Malformed, varint};

const ITEM: u8 = 0;
const OK: u8 = 1;
const ERROR: u8 = 2;

/// Appends what stands before a request's body: how long the caller waits, 0 for ever, and the method's name.
pub(crate) fn encode_request_start(wait_us: u64, method: &str, out: &mut Vec<u8>) {
    varint::put(wait_us.min(varint::MAX), out);
    varint::put(method.len() as u64, out);
    out.extend_from_slice(method.as_bytes());
}

/// Appends what stands before an item's body of `len` bytes.
pub(crate) fn encode_item_start(len: usize, out: &mut Vec<u8>) {
    out.push(ITEM);
    varint::put(len as u64, out);
}

/// Appends the end of an answer.
pub(crate) fn encode_end(outcome: Result<(), (u64, &str)>, out: &mut Vec<u8>) {
    let Err((code, reason)) = outcome else {
        out.push(OK);
        return;
    };
    let mut len = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    out.push(ERROR);
    varint::put(code.min(varint::MAX), out);
    varint::put(len as u64, out);
    out.extend_from_slice(&reason.as_bytes()[..len]);
}

/// A request on its way in.
#[derive(Debug, Default)]
pub(crate) struct RequestReader {
    bytes: Vec<u8>,
}

/// A request that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) wait_us: u64,
    pub(crate) method: String,
    pub(crate) body: Vec<u8>,
}

/// The most a request takes with everything before its body.
const MAX_REQUEST: usize = 8 + 8 + MAX_METHOD + MAX_BODY;

impl RequestReader {
    /// Where the next bytes go, and how many more there may be: one beyond the limit, so that it shows.
    pub(crate) fn buffer(&mut self) -> (&mut Vec<u8>, usize) {
        let room = MAX_REQUEST + 1 - self.bytes.len().min(MAX_REQUEST);
        (&mut self.bytes, room)
    }

    /// How many bytes came in.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is longer than any may be.
    pub(crate) fn is_too_large(&self) -> bool {
        self.bytes.len() > MAX_REQUEST
    }

    /// How long the caller waits, once that came in.
    pub(crate) fn wait_us(&self) -> Option<u64> {
        varint::split(&self.bytes).ok().map(|(wait_us, _)| wait_us)
    }

    /// The request, now that its end came in.
    pub(crate) fn finish(mut self) -> Result<Request, Malformed> {
        let (wait_us, rest) = varint::split(&self.bytes)?;
        let (method, body) = varint::split_bytes(rest)?;
        if method.is_empty() || method.len() > MAX_METHOD || body.len() > MAX_BODY {
            return Err(Malformed);
        }
        let method = str::from_utf8(method).map_err(|_| Malformed)?.to_owned();
        let start = self.bytes.len() - body.len();
        self.bytes.drain(..start);
        Ok(Request { wait_us, method, body: self.bytes })
    }
}

/// An answer on its way in.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    bytes: Vec<u8>,
}

/// A part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Item(Vec<u8>),
    End(Result<(), (u64, String)>),
}

impl ResponseReader {
    /// Where the next bytes go.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many more bytes it takes to know more than now; 0 when a part can be taken.
    pub(crate) fn missing(&self) -> Result<usize, Malformed> {
        match self.split() {
            Ok(_) => Ok(0),
            Err(Short::By(missing)) => Ok(missing),
            Err(Short::Malformed) => Err(Malformed),
        }
    }

    /// Takes out the next part if all of it came in.
    pub(crate) fn next(&mut self) -> Option<Part> {
        let (part, len) = self.split().ok()?;
        let part = match part {
            // Nearly always all there is: no second copy.
            Split::Item(start) if len == self.bytes.len() => {
                let mut body = std::mem::take(&mut self.bytes);
                body.drain(..start);
                return Some(Part::Item(body));
            }
            Split::Item(start) => Part::Item(self.bytes[start..len].to_vec()),
            Split::Ok => Part::End(Ok(())),
            Split::Error(code, reason) => Part::End(Err((code, reason))),
        };
        self.bytes.drain(..len);
        Some(part)
    }

    fn split(&self) -> Result<(Split, usize), Short> {
        let (&kind, rest) = self.bytes.split_first().ok_or(Short::By(1))?;
        match kind {
            OK => Ok((Split::Ok, 1)),
            ITEM => {
                let (len, body) = split_len(rest, MAX_BODY)?;
                let start = self.bytes.len() - body.len();
                match len.checked_sub(body.len()) {
                    None | Some(0) => Ok((Split::Item(start), start + len)),
                    Some(missing) => Err(Short::By(missing)),
                }
            }
            ERROR => {
                let (code, rest) = varint::split(rest).map_err(|_| Short::By(1))?;
                let (len, reason) = split_len(rest, MAX_REASON)?;
                let start = self.bytes.len() - reason.len();
                let reason = reason.get(..len).ok_or(Short::By(len.saturating_sub(reason.len())))?;
                Ok((Split::Error(code, String::from_utf8_lossy(reason).into_owned()), start + len))
            }
            _ => Err(Short::Malformed),
        }
    }
}

enum Split {
    /// Its body begins here.
    Item(usize),
    Ok,
    Error(u64, String),
}

enum Short {
    By(usize),
    Malformed,
}

fn split_len(bytes: &[u8], most: usize) -> Result<(usize, &[u8]), Short> {
    let (len, rest) = varint::split(bytes).map_err(|_| Short::By(1))?;
    let len = usize::try_from(len).ok().filter(|len| *len <= most).ok_or(Short::Malformed)?;
    Ok((len, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let mut reader = RequestReader::default();
        let (buffer, room) = reader.buffer();
        assert!(room > MAX_BODY);
        encode_request_start(1_500_000, "echo", buffer);
        buffer.extend_from_slice(b"body");
        assert_eq!(reader.wait_us(), Some(1_500_000));
        let request = reader.finish().unwrap();
        assert_eq!((request.wait_us, &*request.method, &*request.body), (1_500_000, "echo", &b"body"[..]));
    }

    #[test]
    fn a_request_without_a_name_or_with_one_that_is_no_text_or_too_long_is_refused() {
        for method in [&b""[..], b"\xff", &[b'a'; MAX_METHOD + 1]] {
            let mut reader = RequestReader::default();
            varint::put(0, reader.buffer().0);
            varint::put(method.len() as u64, reader.buffer().0);
            reader.buffer().0.extend_from_slice(method);
            assert_eq!(reader.finish(), Err(Malformed));
        }
        assert_eq!(RequestReader::default().finish(), Err(Malformed));
    }

    #[test]
    fn a_request_that_is_too_long_shows_before_it_is_stored() {
        let mut reader = RequestReader::default();
        let (buffer, room) = reader.buffer();
        buffer.extend(vec![0; room]);
        assert!(reader.is_too_large());
        assert!(reader.buffer().1 <= 1);
    }

    fn answer() -> Vec<u8> {
        let mut out = Vec::new();
        for item in [&b"first"[..], b"", b"third"] {
            encode_item_start(item.len(), &mut out);
            out.extend_from_slice(item);
        }
        encode_end(Err((300, "no, thank you")), &mut out);
        out
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_however_it_is_cut() {
        for step in 1..10 {
            let (mut reader, mut parts) = (ResponseReader::default(), Vec::new());
            for piece in answer().chunks(step) {
                reader.buffer().extend_from_slice(piece);
                while let Some(part) = reader.next() {
                    parts.push(part);
                }
                assert!(reader.missing().unwrap() > 0);
            }
            let item = |bytes: &[u8]| Part::Item(bytes.to_vec());
            let end = Part::End(Err((300, "no, thank you".to_owned())));
            assert_eq!(parts, [item(b"first"), item(b""), item(b"third"), end], "in steps of {step}");
        }
    }

    #[test]
    fn an_answer_of_another_kind_or_too_long_is_refused() {
        for bytes in [&[3_u8][..], &[ITEM, 0xc0, 0, 0, 0, 1, 0, 0, 0], &[ERROR, 1, 0x80, 0, 16, 0]] {
            let mut reader = ResponseReader::default();
            reader.buffer().extend_from_slice(bytes);
            assert_eq!((reader.missing(), reader.next()), (Err(Malformed), None), "{bytes:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        encode_end(Err((300, &"ä".repeat(MAX_REASON))), &mut out);
        let mut reader = ResponseReader::default();
        reader.buffer().extend_from_slice(&out);
        assert_eq!(reader.next(), Some(Part::End(Err((300, "ä".repeat(MAX_REASON / 2))))));
    }
}

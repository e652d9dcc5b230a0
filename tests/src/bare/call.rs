//! What remote calls say on their streams (section 7).

use super::{
    Refused,
    number::{take_number, take_prefixed, write_number, write_prefixed},
};

/// What a caller asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How long it waits, in microseconds; 0 for ever.
    pub wait_us: u64,
    /// What for.
    pub method: String,
    /// With what.
    pub body: Vec<u8>,
}

impl Request {
    /// What stands on the stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_number(self.wait_us, &mut out);
        write_prefixed(self.method.as_bytes(), &mut out);
        out.extend_from_slice(&self.body);
        out
    }

    /// What a whole stream says.
    ///
    /// # Errors
    /// When it is no request.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let (wait_us, rest) = take_number(bytes)?;
        let (method, body) = take_prefixed(rest)?;
        let method = str::from_utf8(method).map_err(|_| Refused)?.to_owned();
        Ok(Self { wait_us, method, body: body.to_vec() })
    }
}

/// How an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Well.
    Well,
    /// Not well.
    NotWell {
        /// What the matter is.
        code: u64,
        /// In words.
        reason: String,
    },
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Any number of items.
    pub items: Vec<Vec<u8>>,
    /// What follows them.
    pub end: End,
}

impl Answer {
    /// What stands on the stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for item in &self.items {
            out.push(0);
            write_prefixed(item, &mut out);
        }
        match &self.end {
            End::Well => out.push(1),
            End::NotWell { code, reason } => {
                out.push(2);
                write_number(*code, &mut out);
                write_prefixed(reason.as_bytes(), &mut out);
            }
        }
        out
    }

    /// What a whole stream says.
    ///
    /// # Errors
    /// When it is no answer, or more than one.
    pub fn read(mut bytes: &[u8]) -> Result<Self, Refused> {
        let mut items = Vec::new();
        loop {
            let (part, rest) = bytes.split_first().ok_or(Refused)?;
            let (end, rest) = match part {
                0 => {
                    let (item, rest) = take_prefixed(rest)?;
                    items.push(item.to_vec());
                    bytes = rest;
                    continue;
                }
                1 => (End::Well, rest),
                2 => {
                    let (code, rest) = take_number(rest)?;
                    let (reason, rest) = take_prefixed(rest)?;
                    let reason = str::from_utf8(reason).map_err(|_| Refused)?.to_owned();
                    (End::NotWell { code, reason }, rest)
                }
                _ => return Err(Refused),
            };
            return if rest.is_empty() { Ok(Self { items, end }) } else { Err(Refused) };
        }
    }
}

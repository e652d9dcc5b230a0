//! What daemons put out.

use std::time::Duration;

use meshground_shared::{DaemonId, LogLevel};

/// The most things a daemon may put out over one event.
pub(crate) const MAX_OUTPUTS: usize = 1_024;

/// The most bytes of them all.
pub(crate) const MAX_OUTPUT_BYTES: usize = 3 << 20;

/// The longest line of a log, in bytes.
pub(super) const MAX_LINE: usize = 1_024;

/// Takes what a daemon puts out while it works off one event. It takes effect when that is done, and not if it ends in
/// a crash.
///
/// At most 1,024 things of 3 MiB together; what goes beyond is dropped and counted.
#[derive(Debug, Default)]
pub struct Outputs {
    list: Vec<Output>,
    bytes: usize,
    dropped: u64,
}

/// Whom a daemon sends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A daemon, wherever it is.
    Daemon(DaemonId),
    /// A member of its own group, by its place.
    Member(u32),
}

/// One thing put out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Reply(Vec<u8>),
    Send { to: Address, payload: Vec<u8>, token: Option<u64> },
    Alarm { after: Duration, token: u64 },
    Log { level: LogLevel, text: String },
    Announce { tags: Vec<String> },
    Stop,
}

impl Outputs {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whoever sent the event something. It gets all that was told over one event together, in order.
    pub fn reply(&mut self, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.push(payload.len(), Output::Reply(payload));
    }

    /// Sends another daemon something, at most [`MAX_PAYLOAD`](super::MAX_PAYLOAD) bytes. What one daemon sends
    /// another arrives in order, each at most once.
    pub fn send(&mut self, to: Address, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.push(payload.len(), Output::Send { to, payload, token: None });
    }

    /// As [`send`](Self::send); what comes of it comes back as [`DaemonEvent::Answer`](super::DaemonEvent::Answer) with
    /// this token.
    pub fn ask(&mut self, to: Address, payload: impl Into<Vec<u8>>, token: u64) {
        let payload = payload.into();
        self.push(payload.len(), Output::Send { to, payload, token: Some(token) });
    }

    /// Has itself woken after this long by [`DaemonEvent::Alarm`](super::DaemonEvent::Alarm). An alarm of the same token
    /// that has not gone off yet is moved.
    pub fn wake(&mut self, after: Duration, token: u64) {
        self.push(0, Output::Alarm { after, token });
    }

    /// Writes a line into its log; what goes beyond 1,024 bytes is cut.
    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        let mut text = text.into();
        cut(&mut text, MAX_LINE);
        self.push(text.len(), Output::Log { level, text });
    }

    /// Has its node announce these tags, besides what it announces anyway, for as long as it runs there; in place of
    /// what it had it announce before.
    pub fn announce(&mut self, tags: impl IntoIterator<Item = impl Into<String>>) {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        self.push(tags.iter().map(String::len).sum(), Output::Announce { tags });
    }

    /// Is done: it stops, as if it had been told to.
    pub fn stop(&mut self) {
        self.push(0, Output::Stop);
    }

    fn push(&mut self, bytes: usize, output: Output) {
        if self.list.len() < MAX_OUTPUTS && self.bytes + bytes <= MAX_OUTPUT_BYTES {
            self.bytes += bytes;
            self.list.push(output);
        } else {
            self.dropped += 1;
        }
    }

    /// All of it, and a line about what was dropped.
    pub(crate) fn into_list(mut self) -> Vec<Output> {
        if self.dropped > 0 {
            let text = format!("{} things it put out over one event went beyond the bounds", self.dropped);
            self.list.push(Output::Log { level: LogLevel::Warn, text });
        }
        self.list
    }
}

/// Cuts a text to at most `most` bytes, between characters.
pub(crate) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_bounds_is_dropped_and_said() {
        let mut outputs = Outputs::new();
        outputs.reply(vec![0; MAX_OUTPUT_BYTES]);
        outputs.reply(b"more");
        outputs.stop();
        let list = outputs.into_list();
        assert!(matches!(&list[..], [Output::Reply(_), Output::Stop, Output::Log { .. }]), "{}", list.len());
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut text = "ä".repeat(MAX_LINE);
        cut(&mut text, MAX_LINE - 1);
        assert_eq!(text.len(), MAX_LINE - 2);
    }
}

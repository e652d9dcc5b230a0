//! What of streams a packet carries.

/// Something a packet carried that must come again if the packet is lost. Only named: when it is sent again, it is
/// sent as it is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Stream { stream: u64, offset: u64, len: u64, end: bool },
    ResetStream { stream: u64 },
    StopSending { stream: u64, code: u64 },
    MaxData,
    MaxStreamData { stream: u64 },
    MaxStreams,
}

//! Errors as they travel: a code, a name, a message and what to do about it.

use serde::{Deserialize, Serialize};

use crate::id::CommandId;

/// A JSON-RPC error object. `code` and `data.name` say the same thing, once for
/// programs that know JSON-RPC and once for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// Which kind; see [`ErrorCode`].
    pub code: i32,
    /// What went wrong here, in a sentence.
    pub message: String,
    /// The kind by name, and the way out.
    pub data: ErrorData,
}

/// The part of an error beyond JSON-RPC's own fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// The kind in `snake_case`, stable for programs.
    pub name: String,
    /// What to do about it, in a sentence.
    pub hint: String,
    /// The command that failed, if it had begun: its events carry this as `cause`. Absent
    /// from a refusal, which changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// The kinds of error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every kind, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number that travels as `code`.
            pub fn code(self) -> i32 {
                match self { $(Self::$variant => $code),* }
            }

            /// The stable name that travels as `data.name`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

codes! {
    /// The message is no JSON.
    ParseError = -32700, "parse_error";
    /// The message is JSON but no JSON-RPC 2.0 request.
    InvalidRequest = -32600, "invalid_request";
    /// There is no such method.
    MethodNotFound = -32601, "method_not_found";
    /// The method exists; its parameters are wrong in kind, name or range.
    InvalidParams = -32602, "invalid_params";
    /// A defect of the server.
    Internal = -32603, "internal";
    /// `cluster.boot` while a cluster runs, without `replace`.
    AlreadyRunning = 1001, "already_running";
    /// The command needs a running cluster.
    NotRunning = 1002, "not_running";
    /// No member has this id.
    NodeNotFound = 1003, "node_not_found";
    /// The command would exceed a limit of this server.
    LimitExceeded = 1004, "limit_exceeded";
    /// The message is larger than the server reads.
    MessageTooLarge = 1005, "message_too_large";
    /// A handshake failed.
    HandshakeFailed = 1006, "handshake_failed";
    /// The budget ran out before the mesh converged.
    Timeout = 1007, "timeout";
    /// The node is in the wrong state for this (crashed, or running).
    WrongState = 1008, "wrong_state";
    /// The cluster is just being booted or shut down by another command.
    Busy = 1009, "busy";
    /// The machine refused something: a socket, a port, memory.
    SystemFailure = 1010, "system_failure";
    /// No daemon of this id runs on a node that can be reached.
    DaemonNotFound = 1011, "daemon_not_found";
    /// No factory of this name is registered.
    KindNotFound = 1012, "kind_not_found";
    /// There is no group of this id.
    GroupNotFound = 1013, "group_not_found";
    /// There is no migration of this id, or it is over.
    MigrationNotFound = 1014, "migration_not_found";
    /// A signed command was rejected; the message names the [`Rejection`](crate::Rejection).
    Rejected = 1015, "rejected";
    /// A daemon could not be made: its factory refused, or it crashed at once.
    SpawnFailed = 1016, "spawn_failed";
    /// A call from node to node came to nothing: no such method, an error, or its deadline.
    CallFailed = 1017, "call_failed";
    /// No node is left, or none offers what is asked for.
    Unplaceable = 1018, "unplaceable";
    /// A group with this seed is there: the members of both would be the same.
    SeedTaken = 1019, "seed_taken";
}

impl RpcError {
    /// An error of this kind.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: code.code(),
            message: message.into(),
            data: ErrorData { name: code.name().to_owned(), hint: hint.into(), command: None },
        }
    }

    /// The same, as the end of a command that had begun.
    #[must_use]
    pub fn of(mut self, command: CommandId) -> Self {
        self.data.command = Some(command);
        self
    }

    /// Whether it is of this kind.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.code()
    }
}

//! What a client says over the WebSocket.

use meshground_shared::rpc::{METHODS, MethodCall, Request};
use serde_json::{Map, Number, Value, json};

use crate::input::Input;

/// The words that parameters are made of.
const WORDS: [&str; 43] = [
    "node",
    "kind",
    "args",
    "daemon",
    "grace_ms",
    "payload",
    "via",
    "group",
    "count",
    "desired",
    "name",
    "seed",
    "parent",
    "fork",
    "replica",
    "standby",
    "from",
    "to",
    "method",
    "body",
    "deadline_ms",
    "migration",
    "verb",
    "operator",
    "operators",
    "envelope",
    "limit",
    "since_us",
    "until_us",
    "outcome",
    "rejected_for",
    "simulation",
    "drain",
    "cordon",
    "freeze_cluster",
    "thaw_cluster",
    "ttl_ms",
    "force_evict_replica",
    "index",
    "0123456789abcdef",
    "ffffffffffffffff",
    "demo",
    "echo",
];

/// How deep lists and objects are nested.
const DEPTH: usize = 4;

/// A request: any text, or parameters made of the words that there are. What is read says the same when it is written
/// and read again.
pub fn client(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let text = serde_json::to_vec(&request).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<Request>(&text).ok().as_ref(), Some(&request));
        parameters(&request.method, &request.params);
    }
    let mut input = Input(bytes);
    let method = METHODS[input.choice(METHODS.len())];
    let given = value(&mut input, DEPTH);
    parameters(method, &given);
}

fn value(input: &mut Input<'_>, depth: usize) -> Value {
    match input.choice(if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => Value::Bool(input.byte() < 128),
        2 => Value::Number(Number::from(input.number())),
        3 | 4 => Value::String(WORDS[input.choice(WORDS.len())].to_owned()),
        5 => {
            let len = usize::from(input.byte());
            Value::String(String::from_utf8_lossy(input.bytes(len)).into_owned())
        }
        6 => (0..input.choice(4)).map(|_| value(input, depth - 1)).collect(),
        _ => {
            let count = field_count(input.0);
            let field = |_| (WORDS[input.choice(WORDS.len())].to_owned(), value(input, depth - 1));
            Value::Object((0..count).map(field).collect::<Map<_, _>>())
        }
    }
}

/// Mostly as many fields as parameters have.
fn field_count(rest: &[u8]) -> u8 {
    1 + rest.first().copied().unwrap_or_default() % 5
}

fn parameters(method: &str, given: &Value) {
    let Ok(read) = serde_json::from_value::<MethodCall>(json!({"method": method, "params": given})) else {
        return;
    };
    let written = serde_json::to_value(&read).expect("what was read can be written");
    let again = serde_json::from_value::<MethodCall>(written.clone());
    let again = again.unwrap_or_else(|error| panic!("{written} is not read again: {error}"));
    assert_eq!(again, read, "{written}");
}

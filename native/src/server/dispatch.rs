//! From the text of a message to a typed call, and from a result back to text.

use meshground_shared::rpc::{
    AdminAudit, AdminExecute, AdminSubmit, ClusterBoot, ClusterShutdown, ClusterSnapshot, ClusterTopology,
    DaemonDeliver, DaemonKinds, DaemonSpawn, DaemonStop, ErrorCode, EventsSubscribe, FaultClear, FaultList,
    FaultPartition, FaultSet, GroupPromote, GroupScale, GroupSpawn, GroupStop, IceExecute, IceSimulate, Id,
    METHODS, Method, MethodCall, MigrationCancel, MigrationStart, NodeCrash, NodeLook, NodePause,
    NodeRestart, NodeResume, NodeShutdown, NodeSpawn, Response, RpcCall, RpcError, SessionHello, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Characters of a client's own text that an error repeats.
const QUOTED: usize = 200;
/// Bytes of a string id; it comes back in the answer, which has to stay small.
const MAX_ID: usize = 256;

/// A request that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incoming {
    /// Where the answer goes; without one, nowhere.
    pub(crate) id: Option<Id>,
    /// What to do.
    pub(crate) call: MethodCall,
}

/// A message that cannot be carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unreadable {
    /// The request's id, as far as it could be found.
    pub(crate) id: Option<Id>,
    /// It was a well-formed request without an id: its sender wants no answer.
    pub(crate) silent: bool,
    /// What is wrong with it.
    pub(crate) error: Box<RpcError>,
}

/// Reads one message.
pub(crate) fn parse(text: &str) -> Result<Incoming, Unreadable> {
    let (id, method, params) = envelope(text)?;
    let call = call(&method, params);
    call.map_err(|error| Unreadable { silent: id.is_none(), id: id.clone(), error: Box::new(error) })
        .map(|call| Incoming { id, call })
}

fn envelope(text: &str) -> Result<(Option<Id>, String, Value), Unreadable> {
    let message: Value = serde_json::from_str(text).map_err(|error| {
        let hint = "Send one JSON-RPC 2.0 request per text frame, such as \
                    {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session.hello\"}.";
        let message = format!("the message is no JSON: {}", shorten(&error.to_string()));
        nameless(RpcError::new(ErrorCode::ParseError, message, hint))
    })?;
    let mut fields = match message {
        Value::Object(fields) => fields,
        Value::Array(_) => {
            let error = invalid("batches are not taken", "Send each request as a message of its own.");
            return Err(nameless(error));
        }
        other => {
            let what = format!("a request is a JSON object, not {}", kind_of(&other));
            return Err(nameless(invalid(what, "Wrap it: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":…}.")));
        }
    };
    let id = fields.remove("id").map(parse_id).transpose().map_err(nameless)?;
    // From here on the sender can be told which of its requests is meant. A message
    // that is no request at all is answered even without an id.
    let fail = |error| Unreadable { id: id.clone(), silent: false, error: Box::new(error) };
    match fields.remove("jsonrpc").map(serde_json::from_value::<Version>) {
        Some(Ok(Version::V2)) => {}
        Some(Err(_)) | None => {
            let hint = "Add \"jsonrpc\": \"2.0\" to the request.";
            return Err(fail(invalid("this is no JSON-RPC 2.0 request", hint)));
        }
    }
    let method = match fields.remove("method") {
        Some(Value::String(method)) => method,
        Some(other) => {
            let what = format!("`method` is a string, not {}", kind_of(&other));
            return Err(fail(invalid(what, methods_hint())));
        }
        None => return Err(fail(invalid("the request names no `method`", methods_hint()))),
    };
    let params = fields.remove("params").unwrap_or(Value::Null);
    if let Some(unknown) = fields.keys().next() {
        let what = format!("a request has no field `{}`", shorten(unknown));
        let hint = "Its fields are `jsonrpc`, `id`, `method` and `params`.";
        return Err(fail(invalid(what, hint)));
    }
    Ok((id, method, params))
}

fn parse_id(value: Value) -> Result<Id, RpcError> {
    let hint = "Use a whole number or a string of at most 256 bytes as `id`, or leave it out for no answer.";
    let id = match value {
        Value::Number(number) => number.as_i64().map(Id::Number),
        Value::String(text) if text.len() <= MAX_ID => Some(Id::String(text)),
        _ => None,
    };
    id.ok_or_else(|| invalid("the request's `id` cannot be used", hint))
}

fn call(method: &str, given: Value) -> Result<MethodCall, RpcError> {
    if !METHODS.contains(&method) {
        let message = format!("there is no method `{}`", shorten(method));
        return Err(RpcError::new(ErrorCode::MethodNotFound, message, methods_hint()));
    }
    let given = match given {
        Value::Null => Value::Object(Map::new()),
        object @ Value::Object(_) => object,
        other => {
            let message = format!("the parameters of {method} are an object, not {}", kind_of(&other));
            return Err(RpcError::new(ErrorCode::InvalidParams, message, "Give parameters by name."));
        }
    };
    let call = Map::from_iter([("method".to_owned(), Value::from(method)), ("params".to_owned(), given)]);
    serde_json::from_value(Value::Object(call)).map_err(|error| {
        let message = format!("the parameters of {method} are wrong: {}", shorten(&error.to_string()));
        RpcError::new(ErrorCode::InvalidParams, message, usage(method))
    })
}

/// The usage of a method without parameters.
const NO_PARAMS: &str = "It takes no parameters: give {} or leave `params` out.";
/// The usage of a method that nobody wrote one for; a test sees to it that there is none.
const NO_USAGE: &str = "Its parameters are in the contract, the crate `shared`.";

/// What the parameters of a method look like.
fn usage(method: &str) -> &'static str {
    match method {
        EventsSubscribe::NAME => {
            "Give {}, or {\"topics\": [\"cluster\", \"telemetry\"]}, and to go on where you stopped \
             \"resume\": {\"epoch\": \"16 hexadecimal digits\", \"seq\": 0}."
        }
        ClusterBoot::NAME => {
            "Give {\"nodes\": 5}, \"replace\": true if a running cluster may be shut down for it, and \
             \"topology\" as in cluster.topology unless it is to be a full mesh."
        }
        ClusterTopology::NAME => {
            "Give {\"topology\": \"full\"}, or \"ring\", \"star\", \"line\", {\"tree\": {\"arity\": 2}} or \
             {\"random_regular\": {\"degree\": 4, \"seed\": 1}}."
        }
        NodeShutdown::NAME | NodeCrash::NAME | NodePause::NAME | NodeResume::NAME | NodeLook::NAME => {
            "Give {\"node\": \"16 lower-case hexadecimal digits\"}, an id out of cluster.snapshot."
        }
        NodeRestart::NAME => {
            "Give {\"node\": \"16 lower-case hexadecimal digits\"}, an id out of cluster.snapshot, and \
             \"fresh_identity\": true if it is to come back as somebody else."
        }
        FaultSet::NAME => {
            "Give {\"from\": id, \"to\": id, \"fault\": {\"cut\": true}}, or any of \"loss\", \"duplication\" and \
             \"corruption\" from 0 to 1, \"delay_us\" and \"jitter_us\"; with \"both_ways\": true back as well."
        }
        FaultPartition::NAME => "Give {\"one\": [ids], \"other\": [ids]}, out of cluster.snapshot.",
        FaultClear::NAME => {
            "Give {} for all of them, or {\"link\": {\"from\": id, \"to\": id}}; with \"both_ways\": true in it, \
             back as well."
        }
        DaemonSpawn::NAME => {
            "Give {\"node\": id, \"kind\": \"echo\"}, a kind out of daemon.kinds, and \"args\": \"key=value …\" if it \
             takes any."
        }
        DaemonStop::NAME => {
            "Give {\"daemon\": id}, out of cluster.snapshot, and \"grace_ms\": 2000 if you like."
        }
        DaemonDeliver::NAME => {
            "Give {\"daemon\": id, \"payload\": \"text\"}, and \"via\": the id of a node if another one is to send it."
        }
        GroupSpawn::NAME => {
            "Give {\"kind\": \"replica\", \"daemon\": \"counter\", \"count\": 3}, the daemon a kind out of daemon.kinds; for \
             the kind \"fork\" also \"parent\": id of a daemon, \"standby\" is the third kind; and \"name\", \"anchor\": \
             the id of a node, and \"args\" if you like."
        }
        GroupScale::NAME => "Give {\"group\": id, \"count\": 3}, the group out of cluster.snapshot.",
        GroupPromote::NAME | GroupStop::NAME => "Give {\"group\": id}, out of cluster.snapshot.",
        MigrationStart::NAME => {
            "Give {\"daemon\": id, \"to\": the id of a node}, both out of cluster.snapshot."
        }
        MigrationCancel::NAME => "Give {\"migration\": id}, out of cluster.snapshot.",
        AdminExecute::NAME => {
            "Give {\"verb\": {\"drain\": {\"node\": id}}}, or another verb of one node: enter_maintenance, \
             exit_maintenance, cordon, uncordon, drop_replicas, restart_all_daemons, clear_avoid_list; or \
             {\"invalidate_placement\": {\"group\": id}}."
        }
        AdminSubmit::NAME => "Give {\"envelope\": \"the signed command in hexadecimal digits\"}.",
        AdminAudit::NAME => {
            "Give {}, or any of \"node\": id, \"operator\": \"demo-1\", \"verb\": \"drain\", \"since_us\", \"until_us\", \"outcome\" \
             (\"applied\", \"rejected\" or {\"rejected_for\": \"nonce_replayed\"}) and \"limit\" to see less."
        }
        IceSimulate::NAME => {
            "Give {\"verb\": {\"freeze_cluster\": {\"ttl_ms\": 30000}}}, with `ttl_ms` from 1 to 3,600,000; or \
             \"thaw_cluster\", \"flush_avoid_lists\", {\"force_evict_replica\": {\"group\": id, \"index\": 0}}, {\"force_restart_daemon\": {\"daemon\": id}}, \
             {\"force_cutover\": {\"migration\": id}} or {\"kill_migration\": {\"migration\": id}}."
        }
        IceExecute::NAME => {
            "Give {\"verb\": as in ice.simulate, \"simulation\": what ice.simulate answered}, and \"operators\": \
             [\"demo-1\", \"demo-2\"] if you like."
        }
        RpcCall::NAME => {
            "Give {\"from\": id, \"to\": id, \"method\": \"echo\"}, and \"body\": \"text\" and \"deadline_ms\": 5000 \
             if you like."
        }
        SessionHello::NAME
        | ClusterSnapshot::NAME
        | ClusterShutdown::NAME
        | NodeSpawn::NAME
        | FaultList::NAME
        | DaemonKinds::NAME => NO_PARAMS,
        _ => NO_USAGE,
    }
}

/// The text of an answer that says yes.
pub(crate) fn success<T: Serialize>(id: Id, result: &T) -> String {
    /// [`Response`], without a detour over a tree of values: a snapshot can be large.
    #[derive(Serialize)]
    struct Success<'a, T> {
        jsonrpc: Version,
        id: &'a Id,
        result: &'a T,
    }
    match serde_json::to_string(&Success { jsonrpc: Version::V2, id: &id, result }) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("the result cannot be written: {error}");
            failure(Some(id), RpcError::new(ErrorCode::Internal, message, "Please report this defect."))
        }
    }
}

/// The text of an answer that says no.
pub(crate) fn failure(id: Option<Id>, error: RpcError) -> String {
    // Strings and numbers under fixed names: writing them cannot fail.
    serde_json::to_string(&Response::err(id, error)).unwrap_or_default()
}

/// The id of a request that is too large to be read in full, if it has one.
pub(crate) fn id_of(text: &str) -> Option<Id> {
    #[derive(Deserialize)]
    struct Named {
        id: Value,
    }
    let named: Named = serde_json::from_str(text).ok()?;
    parse_id(named.id).ok()
}

fn nameless(error: RpcError) -> Unreadable {
    Unreadable { id: None, silent: false, error: Box::new(error) }
}

fn invalid(message: impl Into<String>, hint: impl Into<String>) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, message, hint)
}

fn methods_hint() -> String {
    format!("The methods are {}.", METHODS.join(", "))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use meshground_shared::rpc::NoParams;
    use serde_json::json;

    use super::*;

    fn refused(message: &str) -> (Option<Id>, i32, bool) {
        let unreadable = parse(message).unwrap_err();
        assert!(!unreadable.error.data.hint.is_empty());
        (unreadable.id, unreadable.error.code, unreadable.silent)
    }

    #[test]
    fn whoever_gets_parameters_wrong_is_told_how_they_are_right() {
        for method in METHODS {
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"wrong": 1}});
            let error = parse(&request.to_string()).unwrap_err().error;
            assert!(error.is(ErrorCode::InvalidParams), "{method}: {error}");
            let hint = error.data.hint.as_str();
            assert_ne!(hint, NO_USAGE, "{method}");
            // What serde says of a type without fields.
            let takes_none = error.message.contains("there are no fields");
            assert_eq!(hint == NO_PARAMS, takes_none, "{method}: {error}");
        }
    }

    #[test]
    fn parameters_may_be_left_out_where_there_are_none() {
        for params in ["", r#","params":{}"#, r#","params":null"#] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":"x","method":"node.spawn"{params}}}"#);
            let incoming = parse(&text).unwrap();
            assert_eq!(
                incoming,
                Incoming { id: Some(Id::String("x".into())), call: MethodCall::NodeSpawn(NoParams {}) }
            );
        }
    }

    #[test]
    fn what_is_no_request_is_answered_under_the_id_it_has() {
        for (message, id, code) in [
            ("", None, -32700),
            ("nonsense", None, -32700),
            (r#"{"jsonrpc":"2.0""#, None, -32700),
            ("[]", None, -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"session.hello"}]"#, None, -32600),
            ("7", None, -32600),
            ("null", None, -32600),
            ("{}", None, -32600),
            (r#"{"id":1,"method":"session.hello"}"#, Some(1), -32600),
            (r#"{"jsonrpc":"1.0","id":2,"method":"session.hello"}"#, Some(2), -32600),
            (r#"{"jsonrpc":2.0,"id":3,"method":"session.hello"}"#, Some(3), -32600),
            (r#"{"jsonrpc":"2.0","id":4}"#, Some(4), -32600),
            (r#"{"jsonrpc":"2.0","id":5,"method":7}"#, Some(5), -32600),
            (r#"{"jsonrpc":"2.0","id":6,"method":"session.hello","parms":{}}"#, Some(6), -32600),
            (r#"{"jsonrpc":"2.0","id":7,"method":"no.such"}"#, Some(7), -32601),
            (r#"{"jsonrpc":"2.0","id":8,"method":"node.spawn","params":[]}"#, Some(8), -32602),
            (r#"{"jsonrpc":"2.0","id":9,"method":"node.spawn","params":{"x":1}}"#, Some(9), -32602),
            (r#"{"jsonrpc":"2.0","id":10,"method":"cluster.boot"}"#, Some(10), -32602),
            (r#"{"jsonrpc":"2.0","id":11,"method":"cluster.boot","params":{"nodes":-1}}"#, Some(11), -32602),
            (r#"{"jsonrpc":"2.0","id":12,"method":"cluster.boot","params":{"nodes":1.5}}"#, Some(12), -32602),
            (r#"{"jsonrpc":"2.0","id":13,"method":"node.crash","params":{"node":1}}"#, Some(13), -32602),
            (r#"{"jsonrpc":"2.0","id":14,"method":"node.crash","params":{"node":"XY"}}"#, Some(14), -32602),
        ] {
            assert_eq!(refused(message), (id.map(Id::Number), code, false), "{message}");
        }
    }

    #[test]
    fn an_id_that_cannot_be_given_back_is_refused() {
        for id in ["null", "true", "1.5", "[]", "{}", "9223372036854775808", "1e30"] {
            let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"session.hello"}}"#);
            assert_eq!(refused(&message), (None, -32600, false), "{id}");
        }
        let long = json!({"jsonrpc": "2.0", "id": "x".repeat(257), "method": "session.hello"});
        assert_eq!(refused(&long.to_string()), (None, -32600, false));
    }

    #[test]
    fn a_request_without_an_id_wants_no_answer_not_even_a_refusal() {
        assert_eq!(parse(r#"{"jsonrpc":"2.0","method":"node.spawn"}"#).unwrap().id, None);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","method":"no.such"}"#), (None, -32601, true));
    }

    #[test]
    fn an_error_does_not_repeat_a_long_text() {
        let long = "x".repeat(100_000);
        for request in [
            json!({"jsonrpc": "2.0", "id": 1, "method": long}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "node.crash", "params": {"node": long}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "node.crash", "params": {&long: 1}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "node.crash", &long: 1}),
        ] {
            let unreadable = parse(&request.to_string()).unwrap_err();
            assert!(failure(unreadable.id, *unreadable.error).len() < 2_000);
        }
        assert!(parse(&"[".repeat(1_000_000)).is_err(), "deep nesting is refused, not recursed into");
    }

    #[test]
    fn a_result_reads_as_the_shared_response() {
        let text = success(Id::Number(5), &json!({"x": [1, 2]}));
        let response: Response = serde_json::from_str(&text).unwrap();
        assert_eq!(response, Response::ok(Some(Id::Number(5)), json!({"x": [1, 2]})));
    }

    #[test]
    fn the_id_of_an_oversized_request_is_found() {
        let text = json!({"method": "x", "params": "y".repeat(2_000_000), "id": 9}).to_string();
        assert_eq!(id_of(&text), Some(Id::Number(9)));
        assert_eq!(id_of("nonsense"), None);
        assert_eq!(id_of("{}"), None);
    }
}

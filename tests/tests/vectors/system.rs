//! What nodes say above the transport: records, commands, the bodies of calls.

use ed25519_dalek::{Signer, SigningKey};
use meshground_node::{
    WallTime,
    admin::{
        AdminCommand, IceProposal, Nonce, OperatorKey, RadiusHash, SignedCommand as Command, SimulatedIce,
    },
    vectors::RecordFields,
};
use meshground_shared::{
    AdminVerb, BlastRadius, DaemonHealth, Decision, GroupKind, IceVerb, Lifecycle, Maintenance,
    MigrationPhase, Rejection, Verb,
};
use serde::de::DeserializeOwned;

use super::*;

/// What is said under each name, one of every kind.
#[allow(clippy::too_many_lines, reason = "one of everything")]
fn said() -> Vec<(&'static str, Value)> {
    let (a, b) = ("0123456789abcdef", "fedcba9876543210");
    let seed: [u8; 32] = std::array::from_fn(|at| at.try_into().unwrap());
    let (hash, other) = ([7; 32], [8; 32]);
    let nonce = [9; 16];
    let attempt = json!({ "coordinator": 5, "incarnation": 6, "number": 7 });
    let members = json!([{ "node": 5, "incarnation": 6 }, { "node": u64::MAX, "incarnation": 300 }]);
    let message = json!({ "Message": { "from": { "Node": a }, "payload": [104, 105] } });
    let answer = json!({ "Answer": { "token": 3, "outcome": { "Err": { "TooLarge": 2_000_000 } } } });
    let receipt = json!({ "sender": { "node": a, "life": 9 }, "number": 4 });
    let settled = json!({ "Ok": { "place": 5, "replies": [[1, 2], []] } });
    let replay = json!({ "migration": 1, "from": 2, "events": [
        { "event": message, "receipt": receipt },
        { "event": { "Alarm": { "token": 8 } }, "receipt": null },
    ] });
    let in_sync = json!({ "by": [2, 17], "version": 4, "members": { "18": 5 } });
    let admin = |says: Value| ("os.admin", json!({ "version": 1, "says": says }));
    vec![
        (
            "inventory",
            json!({
                "life": u64::MAX, "version": "1.2.3", "maintenance": "recovery", "cordoned": true, "cpu": 300, "memory": 1_000,
                "kinds": ["echo", "ring"],
                "daemons": [
                    { "id": 1, "generation": 2, "lifecycle": "running", "health": "degraded", "saturation": 55,
                      "restarts": 3, "member": [4, 5], "kind": 1 },
                    { "id": 6, "generation": 1, "lifecycle": "failed", "health": "unhealthy", "saturation": 0,
                      "restarts": 0, "member": null, "kind": null },
                ],
                "moving": [{ "migration": 7, "daemon": 1, "target": 8, "phase": "replay" }],
                "standings": [{ "group": 9, "of": [2, 17], "end": 1_000, "sealed": true }],
            }),
        ),
        (
            "groups",
            json!({
                "hosts": [17, u64::MAX],
                "groups": [{
                    "id": 4,
                    "spec": { "version": 2, "author": 17, "desired": 3, "kind": "fork", "name": "three",
                        "daemon": "echo", "args": "a=b", "seed": seed, "cause": 99,
                        "fork": { "parent_key": hash, "processed": 10, "state_hash": other, "state_len": 1_234,
                            "source": 17, "signature": [hash, other] } },
                    "claim": { "term": 2, "node": 17 },
                    "begun": 0,
                    "required": [1, 3, 103, 112, 117, 0, 0, 0, 0, 0],
                    "slots": [[1, 1], [2, 2], [1, 0]],
                }],
                "gone": [5, 6],
            }),
        ),
        admin(json!({ "Prepare": { "attempt": attempt, "members": members, "command": [1, 2, 3] } })),
        admin(json!({ "Vote": { "attempt": attempt, "objection": "nonce_replayed" } })),
        admin(json!({ "Commit": { "attempt": attempt } })),
        admin(
            json!({ "Abort": { "attempt": attempt, "reason": "unreachable", "members": members, "command": [1] } }),
        ),
        admin(json!({ "Ack": { "attempt": attempt } })),
        admin(json!({ "Close": { "attempt": attempt } })),
        admin(json!({ "Ask": { "attempt": attempt, "members": members, "command": [1] } })),
        admin(json!({ "Tell": { "attempt": attempt, "standing": { "Decided": "applied" } } })),
        admin(
            json!({ "Tell": { "attempt": attempt, "standing": { "Orphaned": { "gone": [5, 8], "objection": null } } } }),
        ),
        (
            "os.audit",
            json!({ "version": 1, "says": { "digests": vec![u64::MAX; 32], "after": [1_000, nonce] } }),
        ),
        (
            "os.audit answer",
            json!({ "version": 1, "says": { "more": true, "claims": [
                { "command": [1, 2], "decision": "applied", "decided_us": 1_700_000_000_000_000_u64 },
                { "command": [3], "decision": { "rejected": "not_applicable" }, "decided_us": 1 },
            ] } }),
        ),
        ("os.deliver", json!({ "daemon": 1, "life": 2, "first": 3, "events": [message, answer] })),
        ("os.deliver answer", json!({ "Settled": [settled, { "Err": "Crashed" }] })),
        ("os.deliver answer", json!({ "Refused": { "NotFound": a } })),
        ("os.deliver answer", json!({ "Refused": { "NoMember": 3 } })),
        ("os.deliver answer", json!("Gone")),
        ("os.migrate.start", json!({ "daemon": 1, "to": b, "cause": a })),
        ("os.migrate.start answer", json!({ "Ok": 5 })),
        ("os.migrate.start answer", json!({ "Err": { "KindNotFound": { "node": b, "kind": "echo" } } })),
        ("os.migrate.start answer", json!({ "Err": { "Unheard": b } })),
        (
            "os.migrate.offer",
            json!({ "migration": 1, "seed": seed, "kind": "echo", "args": "", "generation": 3, "cause": null,
                "member": { "group": a, "index": 1, "count": 3 }, "bytes": 70_000 }),
        ),
        ("os.migrate.offer answer", json!({ "Ok": null })),
        ("os.migrate.offer answer", json!({ "Err": { "Other": "too many" } })),
        ("os.migrate.fetch", json!([1, 262_144])),
        (
            "os.migrate.tell",
            json!({ "migration": 1, "daemon": 2, "generation": 3, "stage": { "Fetching": 500 } }),
        ),
        ("os.migrate.tell", json!({ "migration": 1, "daemon": 2, "generation": 3, "stage": "Live" })),
        ("os.migrate.tell answer", json!("Superseded")),
        ("os.migrate.replay", replay.clone()),
        ("os.migrate.replay answer", json!({ "Upto": 4 })),
        ("os.migrate.cutover", replay),
        ("os.migrate.cutover answer", json!("Unknown")),
        ("os.migrate.cutover answer", json!("Forgotten")),
        ("os.migrate.abort", json!(300)),
        ("os.group.fork", json!({ "parent": 1, "root": hash })),
        (
            "os.group.fork answer",
            json!({ "Ok": { "parent_key": hash, "processed": 1, "state_hash": other, "state_len": 2, "source": 3,
                "signature": [hash, other] } }),
        ),
        ("os.group.fork answer", json!({ "Err": "it runs no more" })),
        ("os.group.state", json!({ "hash": hash, "offset": 0, "most": 262_144 })),
        ("os.group.state answer", json!([1, 2, 3])),
        (
            "os.group.sync",
            json!({ "group": 1, "generation": 2, "life": 3, "before": [[1, 16], 9], "end": null, "in_sync": in_sync, "what": { "Entries": {
                "first": 10, "entries": [{ "event": message, "receipt": receipt, "outcome": settled }] } } }),
        ),
        (
            "os.group.sync",
            json!({ "group": 1, "generation": 2, "life": 3, "before": null, "end": [12, [18, 6]], "in_sync": null,
                "what": { "Piece": { "at": 11, "len": 4, "offset": 2, "bytes": [1, 2] } } }),
        ),
        (
            "os.group.sync answer",
            json!({ "Holds": { "have": 9, "base_at": 0, "offset": 0, "sealed": false, "knows": 4, "life": 3 } }),
        ),
        ("os.group.sync answer", json!("Unwanted")),
        ("os.group.poll", json!([1, null])),
        ("os.group.poll", json!([1, 3])),
        ("os.group.poll answer", json!({ "life": 3, "upto": [[2, 17], 500], "in_sync": in_sync })),
        ("os.group.poll answer", json!({ "life": 3, "upto": null, "in_sync": null })),
    ]
}

#[test]
fn everything_that_is_said_above_the_transport_is_read_and_written_as_recorded() {
    let written = |name: &str, says: &Value| {
        let written = vectors::system::written(name, says.clone()).expect("there is something of this name");
        written.unwrap_or_else(|error| panic!("{name} {says}: {error}"))
    };
    let now = || {
        let vector = |(name, says): (&str, Value)| json!({ "name": name, "says": says, "bytes": hex(&written(name, &says)) });
        said().into_iter().map(vector).collect()
    };
    let vectors = super::vectors("bodies.json", now);
    for vector in &vectors {
        let (name, packet) = (vector["name"].as_str().unwrap(), bytes(&vector["bytes"]));
        assert_eq!(written(name, &vector["says"]), packet, "{vector}");
        let says = vectors::system::says(name, &packet, serde_json::value::Serializer);
        assert_eq!(says.unwrap().unwrap(), vector["says"]);
        assert_eq!(vectors::system::rewritten(name, &packet), Some(packet.clone()), "{vector}");
        let longer = [&packet[..], &[0]].concat();
        assert_eq!(vectors::system::rewritten(name, &longer), None, "{vector} with a byte after it");
        for len in 1..packet.len() {
            assert_eq!(vectors::system::rewritten(name, &packet[..len]), None, "{vector} cut to {len} bytes");
        }
    }
    for name in vectors::system::names().filter(|name| *name != "command") {
        assert!(vectors.iter().any(|vector| vector["name"] == name), "nothing is recorded of {name}");
    }
}

/// The names of an enumeration's variants in their order, which is that of their numbers.
fn variants<T: DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
    // serde lists them when it is given another.
    let listed = serde_json::from_str::<T>("\"?\"").unwrap_err().to_string();
    listed.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn what_is_sent_as_a_number_has_the_recorded_one() {
    let now = || {
        let enumerations = [
            ("verb", variants::<Verb>()),
            ("admin", variants::<AdminVerb>()),
            ("ice", variants::<IceVerb>()),
            ("decision", variants::<Decision>()),
            ("rejection", variants::<Rejection>()),
            ("group's kind", variants::<GroupKind>()),
            ("migration's phase", variants::<MigrationPhase>()),
            ("lifecycle", variants::<Lifecycle>()),
            ("daemon's health", variants::<DaemonHealth>()),
            ("maintenance", variants::<Maintenance>()),
        ];
        enumerations.map(|(name, variants)| json!({ "name": name, "from_0": variants })).to_vec()
    };
    assert_eq!(super::vectors("enumerations.json", now), now());
}

/// A number as postcard writes it.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(0x80 | u8::try_from(number & 0x7f).unwrap());
        number >>= 7;
    }
    out.push(number.try_into().unwrap());
}

/// A command's signed bytes and the whole of it, written from the specification.
fn by_hand(vector: &Value) -> (Vec<u8>, Vec<u8>) {
    let (action, nonce) = (bytes(&vector["action"]), bytes(&vector["nonce"]));
    let issued = number(&vector["issued"]);
    let mut signed = b"meshground command 1:".to_vec();
    signed.extend(issued.to_le_bytes());
    signed.extend(&nonce);
    let mut whole = vec![1];
    varint(action.len() as u64, &mut whole);
    whole.extend(&action);
    varint(issued, &mut whole);
    whole.extend(&nonce);
    if vector["radius"].is_null() {
        signed.push(0);
        whole.push(0);
    } else {
        for out in [&mut signed, &mut whole] {
            out.push(1);
            out.extend(bytes(&vector["radius"]));
        }
    }
    signed.extend(&action);
    let operators = vector["operators"].as_array().unwrap();
    varint(operators.len() as u64, &mut whole);
    for operator in operators {
        let key = bare::hash(&bytes(&operator["seed"]), b"meshground operator key 1").unwrap();
        let key = SigningKey::from_bytes(&key);
        assert_eq!(hex(&key.verifying_key().to_bytes()), operator["key"]);
        whole.extend(key.verifying_key().to_bytes());
        whole.extend(key.sign(&signed).to_bytes());
    }
    (signed, whole)
}

#[test]
fn signed_commands_are_the_recorded_ones_by_either_implementation() {
    let verb = |says: &Value| serde_json::from_value::<Verb>(says.clone()).unwrap();
    let of = |vector: &Value| {
        let nonce = Nonce(bytes(&vector["nonce"]).try_into().unwrap());
        let issued = WallTime(number(&vector["issued"]));
        let command: Command = match verb(&vector["says"]) {
            Verb::Admin(verb) => AdminCommand::new(verb, issued, nonce).unsigned(),
            Verb::Ice(verb) => {
                let radius = serde_json::from_value::<BlastRadius>(vector["blast_radius"].clone()).unwrap();
                let simulated: SimulatedIce = IceProposal::new(verb).simulated(radius);
                simulated.unsigned(issued, nonce)
            }
        };
        let operators = vector["operators"].as_array().unwrap().iter();
        let keys = operators.map(|operator| OperatorKey::from_seed("somebody", key(&operator["seed"])));
        keys.fold(command, |command, key| command.cosign(&key))
    };
    let now = || {
        let (a, b) = ("0123456789abcdef", "fedcba9876543210");
        let radius = json!({ "nodes": [b, a], "replicas": [a], "daemons": [a, b], "drain_delay_ms": 5_000,
            "warnings": ["a warning does not count"] });
        let verbs = ["drain", "enter_maintenance", "exit_maintenance", "cordon", "uncordon", "drop_replicas"];
        let more = ["restart_all_daemons", "clear_avoid_list"];
        let admin = verbs.into_iter().chain(more).map(|verb| json!({ "admin": { verb: { "node": a } } }));
        let ice = [
            json!({ "freeze_cluster": { "ttl_ms": 60_000 } }),
            json!("thaw_cluster"),
            json!("flush_avoid_lists"),
            json!({ "force_evict_replica": { "group": a, "index": 300 } }),
            json!({ "force_restart_daemon": { "daemon": a } }),
            json!({ "force_cutover": { "migration": a } }),
            json!({ "kill_migration": { "migration": a } }),
        ];
        let ice = ice.into_iter().map(|verb| json!({ "ice": verb }));
        let placement = json!({ "admin": { "invalidate_placement": { "group": a } } });
        let mut vectors = Vec::new();
        for (at, says) in (1_u8..).zip(admin.chain([placement]).chain(ice)) {
            let is_ice = says.get("ice").is_some();
            // The first two demo operators, whom everybody knows.
            let operators: Vec<Value> = (1..=if is_ice { 2 } else { 1 })
                .map(|number: u8| {
                    let seed = bare::hash(b"meshground demo operator 1", &[number]).unwrap();
                    json!({ "seed": hex(&seed), "key": hex(&OperatorKey::demo(number).unwrap().public_key()) })
                })
                .collect();
            let mut vector = json!({
                "says": says, "issued": 1_700_000_000_000_000_u64 + u64::from(at), "nonce": hex(&[at; 16]),
                "operators": operators, "radius": null,
            });
            if is_ice {
                vector["blast_radius"] = radius.clone();
                vector["radius"] = json!(hex(&of(&vector).radius().unwrap().0));
            }
            let encoded = of(&vector).encode();
            let len = usize::from(encoded[1]);
            vector["action"] = json!(hex(&encoded[2..2 + len]));
            vector["signed"] = json!(hex(&by_hand(&vector).0));
            vector["command"] = json!(hex(&encoded));
            vectors.push(vector);
        }
        vectors
    };
    for vector in super::vectors("commands.json", now) {
        let encoded = bytes(&vector["command"]);
        assert_eq!(of(&vector).encode(), encoded);
        assert_eq!(by_hand(&vector), (bytes(&vector["signed"]), encoded.clone()), "{vector}");
        let read = Command::parse(&encoded).unwrap();
        assert_eq!((read.verb(), read.issued().0), (&verb(&vector["says"]), number(&vector["issued"])));
        if let Some(radius) = read.radius() {
            assert_eq!(hex(&radius.0), vector["radius"]);
            // How many, then ids that rise; and the delay.
            let mut bytes = Vec::new();
            let shown = serde_json::from_value::<BlastRadius>(vector["blast_radius"].clone()).unwrap();
            let lists: [Vec<u64>; 3] = [
                shown.nodes.iter().map(|id| id.0).collect(),
                shown.replicas.iter().map(|id| id.0).collect(),
                shown.daemons.iter().map(|id| id.0).collect(),
            ];
            for mut ids in lists {
                ids.sort_unstable();
                bytes.extend((ids.len() as u64).to_le_bytes());
                bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
            }
            bytes.extend(shown.drain_delay_ms.to_le_bytes());
            assert_eq!(radius, RadiusHash(bare::hash(b"meshground blast radius 1", &bytes).unwrap()));
        }
        for len in 0..encoded.len() {
            assert!(Command::parse(&encoded[..len]).is_err(), "{vector} cut to {len} bytes");
        }
    }
}

#[test]
fn records_are_the_recorded_ones_by_either_implementation() {
    let of = |vector: &Value| RecordFields {
        kind: number(&vector["kind"]).try_into().unwrap(),
        origin: Identity::from_seed(key(&vector["seed"])).node_id(),
        incarnation: number(&vector["incarnation"]),
        version: number(&vector["version"]),
        issued: number(&vector["issued"]),
        ttl: number(&vector["lifetime"]),
        body: bytes(&vector["body"]),
        is_sound: true,
        is_signed: true,
    };
    let now = || {
        let inventory = said().swap_remove(0).1;
        let groups = said().swap_remove(1).1;
        let written = |name, says| hex(&vectors::system::written(name, says).unwrap().unwrap());
        let bodies = [
            // Two tags; one entry.
            (1, "0201610362636401046e616d65050076616c7565".to_owned()),
            (1, String::new()),
            (2, format!("{}{}", hex(&1_u64.to_le_bytes()), hex(&u64::MAX.to_le_bytes()))),
            (3, written("inventory", inventory)),
            (4, written("groups", groups)),
        ];
        let record = |(kind, body): (u8, String)| {
            let mut vector = json!({
                "seed": hex(&[40 + kind; 32]), "kind": kind, "incarnation": 1_700_000_000_000_000_u64, "version": 3,
                "issued": 1_700_000_123_456_789_u64, "lifetime": 300, "body": body,
            });
            vector["record"] = json!(hex(&vectors::sign_record(key(&vector["seed"]), &of(&vector))));
            vector
        };
        bodies.into_iter().map(record).collect()
    };
    for vector in super::vectors("records.json", now) {
        let (encoded, fields) = (bytes(&vector["record"]), of(&vector));
        assert_eq!(vectors::sign_record(key(&vector["seed"]), &fields), encoded);
        assert_eq!(vectors::record(&encoded), Some(fields.clone()), "{vector}");
        let keys = Keys::grow(&key(&vector["seed"])).unwrap();
        let said = bare::Record {
            kind: fields.kind,
            incarnation: fields.incarnation,
            version: fields.version,
            issued: fields.issued,
            lifetime: u32::try_from(fields.ttl).unwrap(),
            body: fields.body,
        };
        assert_eq!(said.sign(&keys), encoded, "{vector}");
        assert_eq!(bare::Record::verify(&encoded), Ok((keys.node_id, said)), "{vector}");
    }
}

#[test]
fn histories_are_compared_by_the_recorded_digests() {
    let now = || {
        let decisions = [json!("applied"), json!({ "rejected": "freeze_in_effect" })];
        let vector = |(at, decision): (u8, Value)| {
            let nonce: [u8; 16] = std::array::from_fn(|i| at.wrapping_mul(37) ^ u8::try_from(i * i).unwrap());
            let issued = 1_700_000_000_000_000 + u64::from(at);
            let decided: Decision = serde_json::from_value(decision.clone()).unwrap();
            let (part, digest) = vectors::history::entry(issued, nonce, decided);
            json!({ "issued": issued, "nonce": hex(&nonce), "decision": decision, "part": part, "digest": digest })
        };
        (1..).zip(decisions).map(vector).collect()
    };
    for vector in super::vectors("history.json", now) {
        let (issued, nonce) = (number(&vector["issued"]), bytes(&vector["nonce"]));
        let decided: Decision = serde_json::from_value(vector["decision"].clone()).unwrap();
        let (part, digest) = vectors::history::entry(issued, nonce.clone().try_into().unwrap(), decided);
        assert_eq!((json!(part), json!(digest)), (vector["part"].clone(), vector["digest"].clone()));
        // 0, or 1 and the reason's number.
        let decision: &[u8] = if decided == Decision::Applied { &[0] } else { &[1, 7] };
        let message = [&issued.to_le_bytes()[..], &nonce, decision].concat();
        let hash = bare::hash(b"meshground history 1", &message).unwrap();
        assert_eq!(u64::from_le_bytes(hash[..8].try_into().unwrap()), digest);
        assert_eq!(usize::from(nonce.iter().fold(0, |all, byte| all ^ byte)) % 32, part);
    }
}

//! The wire, byte by byte: what `tests/vectors` says is what this implementation does, and what another one does that was
//! written from `PROTOCOL.md`.
//!
//! `MESHGROUND_BLESS=1` writes the files anew, from what the implementation does now. A difference is a new version of
//! the protocol.

#[path = "vectors/system.rs"]
mod system;

use std::{env, fmt::Write, fs, path::PathBuf};

use meshground_node::{
    Identity, Suite,
    vectors::{self, End, Field, Meaning, Terms},
};
use meshground_tests::bare::{self, Ephemeral, Handshake, Keys};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not hexadecimal"));
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn index(value: &Value) -> u32 {
    number(value).try_into().unwrap()
}

fn suite(value: &Value) -> Suite {
    Suite::from_byte(number(value).try_into().unwrap()).unwrap()
}

/// The vectors of a file, after writing what `now` gives into it if asked to.
fn vectors(name: &str, now: impl FnOnce() -> Vec<Value>) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    if env::var_os("MESHGROUND_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&now()).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let vectors: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(!vectors.is_empty());
    vectors
}

/// The first private key that a handshake of this implementation draws, whose random numbers grow from `random`.
fn ephemeral(random: [u8; 32]) -> [u8; 32] {
    let draw = |seed| {
        let mut drawn = [0; 32];
        ChaCha20Rng::from_seed(seed).fill_bytes(&mut drawn);
        drawn
    };
    draw(draw(random))
}

fn end(value: &Value) -> End {
    End {
        seed: key(&value["seed"]),
        random: key(&value["random"]),
        index: index(&value["index"]),
        incarnation: number(&value["incarnation"]),
    }
}

fn terms(vector: &Value) -> Terms {
    Terms {
        suite: suite(&vector["suite"]),
        psk: key(&vector["psk"]),
        begun: number(&vector["begun"]),
        connection: number(&vector["connection"]),
    }
}

/// A vector's handshake, by this implementation; `vector` needs no more than what goes in.
fn shaken(vector: &Value) -> Value {
    let ends = [end(&vector["initiator"]), end(&vector["responder"])];
    let (datagrams, outcomes) =
        vectors::handshake(&terms(vector), &ends, &bytes(&vector["frames"])).expect("the handshake succeeds");
    for (outcome, other) in outcomes.iter().zip([&ends[1], &ends[0]]) {
        assert_eq!(outcome.peer, Identity::from_seed(other.seed).node_id());
        assert_eq!(outcome.incarnation, other.incarnation);
        assert_eq!(outcome.begun, number(&vector["begun"]));
        assert_eq!(outcome.connection, number(&vector["connection"]));
    }
    let [initiation, response, confirm] = datagrams;
    json!({
        "initiation": hex(&initiation),
        "response": hex(&response),
        "confirmation": hex(&confirm),
        "initiator": { "first_packet": hex(&outcomes[0].first_packet) },
        "responder": { "first_packet": hex(&outcomes[1].first_packet) },
    })
}

/// The same by the peer that was written from the specification, with the ephemeral keys given.
fn shaken_by_bare(vector: &Value) -> Value {
    let Terms { suite, psk, begun, connection } = terms(vector);
    let suite = suite.byte();
    let (a, b) = (&vector["initiator"], &vector["responder"]);
    let new = |initiator, end: &Value| {
        let ephemeral = Ephemeral::Fixed(key(&end["ephemeral"]));
        let keys = Keys::grow(&key(&end["seed"])).unwrap();
        (Handshake::new(initiator, suite, &psk, &keys, ephemeral).unwrap(), keys)
    };
    let ((mut at_a, keys_a), (mut at_b, keys_b)) = (new(true, a), new(false, b));
    let (index_a, index_b) = (index(&a["index"]), index(&b["index"]));
    let initiation = at_a.write_initiation(begun, index_a).unwrap();
    assert_eq!(at_b.read_initiation(&initiation), Ok((begun, index_a)));
    let response = at_b.write_response(index_a, index_b, number(&b["incarnation"])).unwrap();
    let (to, who) = at_a.read_response(index_a, &response).unwrap();
    assert_eq!((to, who.node_id), (index_b, keys_b.node_id));
    let confirm = at_a.write_confirm(index_b, connection, number(&a["incarnation"])).unwrap();
    let (named, who) = at_b.read_confirm(index_b, &confirm).unwrap();
    assert_eq!((named, who.node_id), (connection, keys_a.node_id));
    let [there, back] = at_a.session_keys();
    assert_eq!(at_b.session_keys(), [there, back]);
    let frames = bytes(&vector["frames"]);
    let told = |keys: &Keys, packet: &[u8], key: &[u8; 32]| {
        json!({
            "entity_key": hex(&keys.entity_key),
            "noise_key": hex(&keys.noise_key),
            "proof": hex(&keys.proof),
            "node_id": keys.node_id.to_string(),
            "sending_key": hex(key),
            "first_packet": hex(packet),
        })
    };
    json!({
        "initiation": hex(&initiation),
        "response": hex(&response),
        "confirmation": hex(&confirm),
        "initiator": told(&keys_a, &bare::seal(suite, &there, index_b, 0, &frames).unwrap(), &there),
        "responder": told(&keys_b, &bare::seal(suite, &back, index_a, 0, &frames).unwrap(), &back),
    })
}

/// Whether everything in `part` stands in `whole` as well.
fn assert_within(part: &Value, whole: &Value) {
    match part {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| assert_within(field, &whole[name])),
        other => assert_eq!(other, whole),
    }
}

/// `a` and what `b` has more.
fn merged(a: &Value, b: &Value) -> Value {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return b.clone() };
    let mut all = a.clone();
    for (name, field) in b {
        let field = a.get(name).map_or_else(|| field.clone(), |known| merged(known, field));
        all.insert(name.clone(), field);
    }
    Value::Object(all)
}

#[test]
fn handshakes_are_the_recorded_ones_by_either_implementation() {
    let now = || {
        let handshake = |suite: Suite, connection: u64, label: u8| {
            let end = |n: u8| {
                let random = [label + n; 32];
                json!({
                    "seed": hex(&[16 + n; 32]),
                    "random": hex(&random),
                    "ephemeral": hex(&ephemeral(random)),
                    "index": u32::from_be_bytes([n, label, 3, 4]),
                    "incarnation": 1_700_000_000_000_000 + u64::from(n),
                })
            };
            let vector = json!({
                "suite": suite.byte(),
                "psk": hex(&std::array::from_fn::<u8, 32, _>(|i| i.try_into().unwrap())),
                "begun": 1_700_000_123_456_789_u64,
                "connection": connection,
                "initiator": end(1),
                "responder": end(2),
                "frames": "0107000000000000000000000007026869",
            });
            merged(&vector, &shaken_by_bare(&vector))
        };
        let suites = Suite::ALL.into_iter();
        suites
            .flat_map(|suite| [handshake(suite, 0, 10), handshake(suite, 3_400_000_000_000_001, 20)])
            .collect()
    };
    for vector in vectors("handshakes.json", now) {
        assert_within(&shaken(&vector), &vector);
        assert_within(&shaken_by_bare(&vector), &vector);
        for end in [&vector["initiator"], &vector["responder"]] {
            let identity = Identity::from_seed(key(&end["seed"]));
            assert_eq!(end["node_id"], identity.node_id().to_string());
            assert_eq!(end["noise_key"], hex(&identity.public_key().0));
            assert_eq!(end["entity_key"], hex(&identity.entity_key()));
        }
    }
}

#[test]
fn data_packets_are_the_recorded_ones_by_either_implementation() {
    let now = || {
        let frames = ["", "03", "0107000000000000000000000007026869"];
        let counters = [0, 1, (1 << 53) - 1];
        let cases = Suite::ALL.into_iter().flat_map(|suite| frames.map(|frames| (suite, frames)));
        cases
            .zip(counters.into_iter().cycle())
            .map(|((suite, frames), counter)| {
                let key = [0x80 | suite.byte(); 32];
                let datagram = vectors::seal(suite, &key, 0x0102_0304, counter, &bytes(&json!(frames)));
                json!({
                    "suite": suite.byte(),
                    "key": hex(&key),
                    "receiver": 0x0102_0304,
                    "counter": counter,
                    "frames": frames,
                    "datagram": hex(&datagram),
                })
            })
            .collect()
    };
    for vector in vectors("packets.json", now) {
        let (suite, key) = (suite(&vector["suite"]), key(&vector["key"]));
        let (receiver, counter) = (index(&vector["receiver"]), number(&vector["counter"]));
        let (frames, datagram) = (bytes(&vector["frames"]), bytes(&vector["datagram"]));
        assert_eq!(vectors::seal(suite, &key, receiver, counter, &frames), datagram);
        assert_eq!(bare::seal(suite.byte(), &key, receiver, counter, &frames), Ok(datagram.clone()));
        assert_eq!(vectors::open(suite, &key, &datagram), Some((receiver, counter, frames)));
        for byte in 0..datagram.len() {
            let mut altered = datagram.clone();
            altered[byte] ^= 1;
            assert_eq!(vectors::open(suite, &key, &altered), None, "byte {byte} altered");
        }
    }
}

fn told((name, fields): &Meaning) -> Value {
    let mut told = json!({ "frame": name });
    for (name, field) in fields {
        told[name] = match field {
            Field::Number(number) => json!(number),
            Field::Id(id) => json!(id.to_string()),
            Field::Bytes(bytes) => json!(hex(bytes)),
            Field::Ranges(ranges) => json!(ranges),
        };
    }
    told
}

/// The type of every frame there is, in order.
const TYPES: std::ops::RangeInclusive<u8> = 1..=20;

#[test]
fn every_frame_is_read_and_written_as_recorded() {
    // By hand from the specification; only what they say is written by the implementation.
    const FRAMES: [&str; 26] = [
        "010700000000000000e8030000",
        "020700000000000000",
        "03",
        "04",
        "05",
        // 0 to 7 arrived; then 5 to 7 and 0 to 2; then as far apart as can be.
        "060a070007",
        "060a0701020102",
        "064064bfffffff0000",
        "0700",
        "070568656c6c6f",
        "0803800111704040057069656365",
        "0904000568656c6c6f",
        "0a04800100000568656c6c6f",
        "0a050500",
        "0b04412880040001",
        "0c0400",
        "0c04c000000100000000",
        "0d80400000",
        "0e0480100000",
        "0f5000",
        "100300887766554433221108000000000000000403000000",
        "1100",
        "11067265636f7264",
        "124d00000000000000",
        "130773756d6d617279",
        "14",
    ];
    let now = || {
        let known = |frame: &&str| {
            let packet = bytes(&json!(frame));
            let said = vectors::frames(&packet).unwrap_or_else(|| panic!("{frame} cannot be read"));
            json!({ "bytes": frame, "says": told(&said[0]) })
        };
        FRAMES.iter().map(known).collect()
    };
    let vectors = vectors("frames.json", now);
    for vector in &vectors {
        let packet = bytes(&vector["bytes"]);
        let said = vectors::frames(&packet).unwrap_or_else(|| panic!("{vector} cannot be read"));
        let said: Vec<_> = said.iter().map(told).collect();
        assert_eq!(said, std::slice::from_ref(&vector["says"]));
        assert_eq!(vectors::frames_rewritten(&packet).as_deref(), Some(&*packet), "{vector}");
        let read = bare::read_frames(&packet).unwrap();
        let [frame] = &read[..] else { panic!("{vector} is one frame, not {read:?}") };
        // The bare peer writes lengths of messages longer than they need to be, and of what it does not care for only the type.
        if !matches!(frame, bare::Frame::Message(_) | bare::Frame::Other(_)) {
            assert_eq!(frame.encode(), packet, "{vector}");
        }
        for len in 1..packet.len() {
            assert_eq!(vectors::frames(&packet[..len]), None, "{vector} cut to {len} bytes");
        }
    }
    for kind in TYPES {
        assert!(vectors.iter().any(|vector| bytes(&vector["bytes"])[0] == kind), "no frame of type {kind}");
    }
}

#[test]
fn frames_that_must_be_refused_are() {
    let refused = |text: &str| {
        let packet = bytes(&json!(text));
        assert_eq!(vectors::frames(&packet), None, "{text}");
        assert_eq!(bare::read_frames(&packet), Err(bare::Refused), "{text}");
    };
    let now = || {
        let too_many = format!("060043e8404000{}", "0000".repeat(64));
        let refused = [
            ("a type that there is not", "00"),
            ("the first type after the last", "15"),
            ("a ping without the silence", "010700000000000000"),
            ("an acknowledgement of numbers below zero", "0600050006"),
            ("a later range of an acknowledgement that ends below zero", "06000501010400"),
            ("more than 64 acknowledged ranges", &too_many),
            ("an empty fragment", "0800050000"),
            ("a fragment beyond its whole", "080004020361626361"),
            ("a stream beyond 2^62 - 1", "0900ffffffffffffffff0161"),
            ("a message that ends before its length", "070568656c6c"),
            ("a sound frame, then an unknown one", "0315"),
        ];
        refused.map(|(why, bytes)| json!({ "why": why, "bytes": bytes })).to_vec()
    };
    for vector in vectors("refused_frames.json", now) {
        refused(vector["bytes"].as_str().unwrap());
    }
}

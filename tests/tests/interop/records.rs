//! Records, in both directions.

use std::slice::from_ref;

use meshground::Mesh;
use meshground_node::{Capabilities, Filter, NodeId};
use meshground_tests::{
    bare::{Abilities, Frame, Key, Keys, Record, Shelf, Summary, cut, links, read_links},
    waiting::within,
};

use super::peer::{Link, Pair, assert_bad_frames, unix_micros};

const CAPABILITIES: u8 = 1;
pub(crate) const LINKS: u8 = 2;

/// A pair of which either knows nothing to say of itself but its link; and what the bare peer holds.
pub(crate) async fn pair() -> (Mesh, Link, Shelf) {
    let (mesh, mut link) = Pair::dialled().await;
    let mut shelf = Shelf::default();
    take_until(&mut link, &mut shelf, |shelf| shelf.get((mesh.node_id(), LINKS)).is_some()).await;
    (mesh, link, shelf)
}

/// Takes records until what is held is as it should be.
pub(crate) async fn take_until(link: &mut Link, shelf: &mut Shelf, wanted: impl Fn(&Shelf) -> bool) {
    while !wanted(shelf) {
        let bytes = link.pick("a record", record).await;
        shelf.take(&bytes).expect("a sound record");
    }
}

fn record(frame: &Frame) -> Option<Vec<u8>> {
    match frame {
        Frame::Record(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

/// What is said with one tag, in version 1.
fn tagged(incarnation: u64, tag: &str) -> Record {
    said(incarnation, CAPABILITIES, tags(&[tag]))
}

fn tags(tags: &[&str]) -> Vec<u8> {
    let tags = tags.iter().map(|tag| tag.as_bytes().to_vec()).collect();
    Abilities { tags, entries: Vec::new() }.write()
}

pub(crate) fn said(incarnation: u64, kind: u8, body: Vec<u8>) -> Record {
    Record { kind, incarnation, version: 1, issued: unix_micros(), lifetime: 300, body }
}

/// Who says so, as the node sees it, after all that was sent to it has been read.
async fn with_tag(mesh: &Mesh, tag: &str) -> Vec<NodeId> {
    mesh.find(Filter::any().with_tag(tag)).await.unwrap()
}

/// Sends a record, and waits until it has been read.
async fn say(link: &mut Link, record: &[u8]) {
    link.deliver(&[Frame::Record(record.to_vec())]).await;
}

/// The same with one of the bare peer's own.
pub(crate) async fn say_own(link: &mut Link, record: &Record) {
    let record = record.sign(&link.bare.keys);
    say(link, &record).await;
}

#[tokio::test]
async fn a_node_finds_the_bare_peer_by_what_it_says_of_itself() {
    let (mesh, mut link, _) = pair().await;
    let (id, incarnation) = (link.bare.keys.node_id, link.bare.incarnation);
    let abilities = Abilities {
        tags: vec![b"bare".to_vec(), b"peer".to_vec()],
        entries: vec![(b"cores".to_vec(), b"12".to_vec()), (b"where".to_vec(), "Zürich".into())],
    };
    let mut record = said(incarnation, CAPABILITIES, abilities.write());
    say_own(&mut link, &record).await;
    let filter = Filter::any().with_tag("bare").with_tag("peer").metadata_is("where", "Zürich");
    assert_eq!(mesh.find(filter).await, Ok(vec![id]));
    assert_eq!(with_tag(&mesh, "bar").await, []);

    // A newer one takes its place, an older one changes nothing, nor does the same again.
    record.version = 3;
    record.body = tags(&["newer"]);
    say_own(&mut link, &record).await;
    record.version = 2;
    record.body = tags(&["older"]);
    say_own(&mut link, &record).await;
    record.version = 3;
    record.body = tags(&["same"]);
    say_own(&mut link, &record).await;
    let former = Record { version: 9, ..tagged(incarnation - 1, "former") };
    say_own(&mut link, &former).await;
    assert_eq!(with_tag(&mesh, "newer").await, [id]);
    for tag in ["bare", "older", "same", "former"] {
        assert_eq!(with_tag(&mesh, tag).await, [], "{tag}");
    }

    // An empty body takes all of it back.
    record.version = 4;
    record.body = Vec::new();
    say_own(&mut link, &record).await;
    assert_eq!(with_tag(&mesh, "newer").await, []);
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_leave_frame_of_the_bare_peer_ends_its_records() {
    let (mesh, mut link, _) = pair().await;
    let record = tagged(link.bare.incarnation, "bare").sign(&link.bare.keys);
    say(&mut link, &record).await;
    assert_eq!(with_tag(&mesh, "bare").await, [link.bare.keys.node_id]);
    link.send(&[Frame::Other(3)]).await;
    link.expect(|frame| *frame == Frame::Other(3)).await;
    assert_eq!(with_tag(&mesh, "bare").await, []);
}

#[tokio::test]
async fn the_bare_peer_verifies_what_a_node_says_of_itself() {
    let (mesh, mut link, mut shelf) = pair().await;
    let id = mesh.node_id();
    let from = unix_micros();
    let listed = shelf.get((id, LINKS)).unwrap();
    assert_eq!(read_links(&listed.body), Ok(vec![link.bare.keys.node_id]));
    let life = listed.incarnation;

    let abilities = Capabilities::new().with_tag("real").unwrap().with_tag("a").unwrap();
    let abilities = abilities.with_metadata("where", "Zürich").unwrap();
    mesh.announce_capabilities(abilities).await.unwrap();
    let key = (id, CAPABILITIES);
    take_until(&mut link, &mut shelf, |shelf| shelf.get(key).is_some()).await;
    let record = shelf.get(key).unwrap();
    let expected = Abilities {
        tags: vec![b"a".to_vec(), b"real".to_vec()],
        entries: vec![(b"where".to_vec(), "Zürich".into())],
    };
    assert_eq!(Abilities::read(&record.body), Ok(expected));
    assert_eq!((record.incarnation, record.version, record.lifetime), (life, 1, 300));
    assert!((from..=unix_micros()).contains(&record.issued));

    mesh.announce_capabilities(Capabilities::new()).await.unwrap();
    take_until(&mut link, &mut shelf, |shelf| shelf.get(key).is_some_and(|record| record.version == 2)).await;
    assert_eq!(Abilities::read(&shelf.get(key).unwrap().body), Ok(Abilities::default()));
}

#[tokio::test]
async fn a_record_that_does_not_fit_a_packet_travels_as_a_parcel_both_ways() {
    let (mesh, mut link, mut shelf) = pair().await;
    let (tag, value) = ("t".repeat(64), "v".repeat(180));
    let mut real = Capabilities::new();
    let mut bare = Abilities::default();
    for place in 10..74 {
        real = real.with_metadata(format!("key {place}"), value.clone()).unwrap();
        bare.entries.push((format!("key {place}").into_bytes(), value.clone().into_bytes()));
    }
    real = real.with_tag(tag.clone()).unwrap();
    bare.tags.push(tag.clone().into_bytes());

    mesh.announce_capabilities(real).await.unwrap();
    let key = (mesh.node_id(), CAPABILITIES);
    take_until(&mut link, &mut shelf, |shelf| shelf.get(key).is_some()).await;
    assert_eq!(Abilities::read(&shelf.get(key).unwrap().body), Ok(bare.clone()));

    let record = said(link.bare.incarnation, CAPABILITIES, bare.write()).sign(&link.bare.keys);
    assert!(record.len() > 10_000);
    for piece in cut(0, &Frame::Record(record).encode(), 1_000) {
        link.deliver(from_ref(&piece)).await;
    }
    let mut both = [mesh.node_id(), link.bare.keys.node_id];
    both.sort();
    assert_eq!(with_tag(&mesh, &tag).await, both);
    assert_bad_frames(&mesh, 0).await;
}

/// Somebody the node has never met.
fn stranger(number: u8) -> Keys {
    Keys::grow(&[number; 32]).unwrap()
}

#[tokio::test]
async fn a_node_takes_what_a_stranger_said_from_the_bare_peer_if_it_was_signed_for_that() {
    let (mesh, mut link, _) = pair().await;
    let keys = stranger(9);
    let record = tagged(5, "far away").sign(&keys);
    say(&mut link, &record).await;
    assert_eq!(with_tag(&mesh, "far away").await, [keys.node_id]);

    // Every field is signed, and so is what it is for.
    let forged = Record { version: 4, ..tagged(5, "forged") }.sign(&keys);
    let places = [0, 1, 33, 41, 49, 57, 61, forged.len() - 64, forged.len() - 1];
    for place in places {
        let mut altered = forged.clone();
        // No pair becomes lower: what is older is not looked at.
        altered[place] ^= if place == 0 { 3 } else { 2 };
        let number = link.send(&[Frame::Record(altered)]).await;
        link.exchange().await;
        assert!(!link.connection.is_settled(number), "byte {place}");
    }
    let others = Record { version: 4, ..tagged(5, "forged") }.sign(&stranger(10));
    let spliced = [&forged[..forged.len() - 64], &others[others.len() - 64..]].concat();
    let number = link.send(&[Frame::Record(spliced)]).await;
    link.exchange().await;
    assert!(!link.connection.is_settled(number));
    assert_eq!(with_tag(&mesh, "forged").await, []);
    assert_bad_frames(&mesh, places.len() as u64 + 1).await;
}

#[tokio::test]
async fn a_node_refuses_records_that_no_honest_end_says() {
    let (mesh, mut link, _) = pair().await;
    let sound = tagged(link.bare.incarnation, "unsound");
    let with = |body: &[u8]| Record { body: body.to_vec(), ..sound.clone() };
    let written = |tags: &[&[u8]], entries: &[(&[u8], &[u8])]| {
        let tags = tags.iter().map(|tag| tag.to_vec()).collect();
        let entries = entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        with(&Abilities { tags, entries }.write())
    };
    let many: Vec<Vec<u8>> = (0..65).map(|number| format!("{number:02}").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(|tag| &tag[..]).collect();
    let many_entries: Vec<(&[u8], &[u8])> = many.iter().map(|key| (*key, &b""[..])).collect();
    let listed = |ids: &[u64]| {
        let ids: Vec<NodeId> = ids.iter().copied().map(NodeId).collect();
        Record { kind: LINKS, body: links(&ids), ..sound.clone() }
    };
    let unsound = [
        ("kind 0", Record { kind: 0, ..sound.clone() }),
        ("kind 5", Record { kind: 5, ..sound.clone() }),
        ("no lifetime", Record { lifetime: 0, ..sound.clone() }),
        ("more than a day", Record { lifetime: 86_401, ..sound.clone() }),
        ("tags that fall", written(&[b"b", b"a"], &[])),
        ("a tag twice", written(&[b"a", b"a"], &[])),
        ("an empty tag", written(&[b""], &[])),
        ("a long tag", written(&[&[b'a'; 65]], &[])),
        ("a tag that is no text", written(&[&[0xff]], &[])),
        ("65 tags", written(&many, &[])),
        ("keys that fall", written(&[], &[(b"b", b""), (b"a", b"")])),
        ("a key twice", written(&[], &[(b"a", b"1"), (b"a", b"2")])),
        ("an empty key", written(&[], &[(b"", b"")])),
        ("a long key", written(&[], &[(&[b'a'; 65], b"")])),
        ("a long value", written(&[], &[(b"a", &[b'a'; 257])])),
        ("65 entries", written(&[], &many_entries)),
        ("tags without entries", with(&[0])),
        ("a byte behind", with(&[0, 0, 0])),
        ("ids that fall", listed(&[2, 1])),
        ("an id twice", listed(&[2, 2])),
        ("part of an id", Record { kind: LINKS, body: vec![1; 9], ..sound.clone() }),
        ("2,049 ids", listed(&(0..2_049).collect::<Vec<_>>())),
        ("a body of 16,385 bytes", Record { kind: 4, body: vec![0; 16_385], ..sound.clone() }),
    ];
    let mut count = 0;
    for (what, record) in unsound {
        let record = record.sign(&link.bare.keys);
        let number = link.send(&[Frame::Record(record)]).await;
        link.exchange().await;
        assert!(!link.connection.is_settled(number), "{what}");
        count += 1;
    }
    let short = sound.sign(&link.bare.keys);
    for len in [0, 1, 60, 61, 124] {
        let number = link.send(&[Frame::Record(short[..len].to_vec())]).await;
        link.exchange().await;
        assert!(!link.connection.is_settled(number), "{len} bytes");
        count += 1;
    }
    assert_bad_frames(&mesh, count).await;
    // As much as there may be.
    for record in [
        written(&many[..64], &many_entries[..64]),
        Record { version: 2, ..written(&[&[b'a'; 64]], &[(&[b'a'; 64], &[b'a'; 256])]) },
        listed(&(0..2_048).collect::<Vec<_>>()),
        // It says nothing that can be read, but goes on to whoever can.
        Record { kind: 4, body: vec![0; 16_384], ..sound.clone() },
        Record { version: 3, lifetime: 86_400, ..tagged(link.bare.incarnation, "sound") },
    ] {
        let record = record.sign(&link.bare.keys);
        say(&mut link, &record).await;
    }
    assert_eq!(with_tag(&mesh, "sound").await, [link.bare.keys.node_id]);
    assert_bad_frames(&mesh, count).await;
}

#[tokio::test]
async fn a_node_passes_over_records_of_another_time() {
    let (mesh, mut link, _) = pair().await;
    let keys = link.bare.keys.clone();
    let now = unix_micros();
    let record = tagged(link.bare.incarnation, "of another time");
    let ahead = Record { version: 5, issued: now + 15_000_000, ..record.clone() };
    let over = Record { version: 6, issued: now - 60_000_000, lifetime: 45, ..record.clone() };
    for record in [&ahead, &over] {
        // That is no fault of whoever brings it.
        say(&mut link, &record.sign(&keys)).await;
        assert_eq!(with_tag(&mesh, "of another time").await, []);
    }
    let little_ahead = Record { issued: now + 5_000_000, ..record };
    say(&mut link, &little_ahead.sign(&keys)).await;
    assert_eq!(with_tag(&mesh, "of another time").await, [keys.node_id]);
    assert_bad_frames(&mesh, 0).await;
}

/// A ping with the digest of what the bare peer holds behind it.
async fn ping(link: &mut Link, digest: u64) {
    link.send(&[Frame::Ping { stamp: 9, silence_ms: 0 }, Frame::Digest(digest)]).await;
}

/// Whatever the node compares, until it has said something of a kind.
async fn summary<T>(link: &mut Link, what: &str, digest: u64, wanted: impl Fn(Summary) -> Option<T>) -> T {
    within(what, async {
        loop {
            ping(link, digest).await;
            link.exchange().await;
            let found = link.connection.inbox.iter().find_map(|frame| match frame {
                Frame::Summary(bytes) => wanted(Summary::read(bytes).expect("a sound summary")),
                _ => None,
            });
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The digest the node sends last, when it has sent another than the one before this.
async fn digest(link: &mut Link) -> u64 {
    link.connection.inbox.clear();
    link.pick("a digest", |frame| match frame {
        Frame::Digest(digest) => Some(*digest),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn both_ends_have_the_same_digest_of_the_same_records() {
    let (mesh, mut link, mut shelf) = pair().await;
    mesh.announce_capabilities(Capabilities::new().with_tag("real").unwrap()).await.unwrap();
    take_until(&mut link, &mut shelf, |shelf| shelf.get((mesh.node_id(), CAPABILITIES)).is_some()).await;
    let mut told = vec![0];
    for record in [tagged(3, "far away").sign(&stranger(9)), tagged(4, "farther").sign(&stranger(11))] {
        say(&mut link, &record).await;
        shelf.take(&record).unwrap();
        let ours = shelf.digest().unwrap();
        within("the same digest", async { while digest(&mut link).await != ours {} }).await;
        told.push(ours);
    }
    assert!(told.windows(2).all(|two| two[0] != two[1]));
    // Where they are the same there is nothing to compare.
    for _ in 0..10 {
        ping(&mut link, shelf.digest().unwrap()).await;
        link.exchange().await;
    }
    assert!(!link.connection.inbox.iter().any(|frame| matches!(frame, Frame::Summary(_))));
}

#[tokio::test]
async fn a_node_that_hears_another_digest_sends_what_it_holds_and_then_what_the_other_end_wants() {
    let (mesh, mut link, shelf) = pair().await;
    let id = mesh.node_id();
    let life = shelf.get((id, LINKS)).unwrap().incarnation;
    mesh.announce_capabilities(Capabilities::new().with_tag("real").unwrap()).await.unwrap();
    link.pick("what was just said", record).await;
    // It is as good as lost.
    let digest = shelf.digest().unwrap();
    let page = |summary| match summary {
        Summary::Page { first, last, held } => Some((first, last, held)),
        Summary::Wanted(_) => None,
    };
    let (first, last, held) = summary(&mut link, "a summary", digest, page).await;
    assert_eq!((first, last), ((NodeId(0), 1), (NodeId(u64::MAX), 4)));
    assert_eq!(held, [((id, CAPABILITIES), life, 1), ((id, LINKS), life, 1)]);
    link.deliver(&[Frame::Summary(Summary::Wanted(vec![(id, CAPABILITIES)]).write())]).await;
    let again = link.pick("what was asked for", record).await;
    let (origin, record) = Record::verify(&again).unwrap();
    assert_eq!((origin, record.kind, record.version), (id, CAPABILITIES, 1));
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_sends_what_a_summary_lacks_and_asks_for_what_it_lacks_itself() {
    let (mesh, mut link, mut shelf) = pair().await;
    let id = mesh.node_id();
    mesh.announce_capabilities(Capabilities::new().with_tag("real").unwrap()).await.unwrap();
    take_until(&mut link, &mut shelf, |shelf| shelf.get((id, CAPABILITIES)).is_some()).await;
    // The bare peer holds two that the node does not, one of which it has in an older version, and lacks one itself.
    let (far, farther) = (stranger(9), stranger(11));
    let old = tagged(7, "old").sign(&farther);
    say(&mut link, &old).await;
    let mut theirs = Shelf::default();
    let new = Record { version: 2, ..tagged(7, "new") };
    let records = [tagged(7, "far away").sign(&far), new.sign(&farther)];
    for record in &records {
        assert_eq!(theirs.take(record), Ok(true));
    }
    theirs.take(shelf.bytes((id, LINKS)).unwrap()).unwrap();
    link.connection.inbox.clear();
    link.deliver(&[Frame::Summary(theirs.page().write())]).await;
    let mut asked: Vec<Key> = link
        .pick("a question", |frame| match frame {
            Frame::Summary(bytes) => match Summary::read(bytes) {
                Ok(Summary::Wanted(keys)) => Some(keys),
                _ => None,
            },
            _ => None,
        })
        .await;
    asked.sort();
    let mut expected = [(far.node_id, CAPABILITIES), (farther.node_id, CAPABILITIES)];
    expected.sort();
    assert_eq!(asked, expected);
    let lacked = link.pick("what was lacking", record).await;
    assert_eq!(Some(&lacked[..]), shelf.bytes((id, CAPABILITIES)));
    for key in asked {
        say(&mut link, theirs.bytes(key).unwrap()).await;
    }
    assert_eq!(with_tag(&mesh, "far away").await, [far.node_id]);
    assert_eq!(with_tag(&mesh, "new").await, [farther.node_id]);
    assert_eq!(with_tag(&mesh, "old").await, []);
    link.exchange().await;
    assert!(!link.connection.inbox.iter().any(|frame| record(frame).is_some()), "and nothing else");
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_refuses_summaries_that_no_honest_end_sends() {
    let (mesh, mut link, _) = pair().await;
    let [low, middle, high] = [NodeId(10), NodeId(20), NodeId(30)];
    let page = |first: Key, last: Key, held: &[Key]| {
        let held = held.iter().map(|key| (*key, 1, 1)).collect();
        Summary::Page { first, last, held }.write()
    };
    let sound = page((low, 1), (high, 4), &[(middle, 2)]);
    let refused = [
        Vec::new(),
        vec![0],
        vec![3],
        page((low, 1), (high, 4), &[(middle, 2), (middle, 1)]),
        page((low, 1), (high, 4), &[(middle, 2), (middle, 2)]),
        page((low, 2), (high, 4), &[(low, 1)]),
        page((low, 1), (middle, 4), &[(high, 1)]),
        page((high, 1), (low, 4), &[]),
        page((low, 0), (high, 4), &[]),
        page((low, 1), (high, 5), &[]),
        page((low, 1), (high, 4), &[(middle, 0)]),
        page((low, 1), (high, 4), &[(middle, 5)]),
        sound[..sound.len() - 1].to_vec(),
        sound[..10].to_vec(),
        Summary::Wanted(vec![(low, 5)]).write(),
        [Summary::Wanted(vec![(low, 1)]).write(), vec![1]].concat(),
    ];
    let count = refused.len() as u64;
    for content in refused {
        let number = link.send(&[Frame::Summary(content.clone())]).await;
        link.exchange().await;
        assert!(!link.connection.is_settled(number), "{content:?}");
    }
    assert_bad_frames(&mesh, count).await;
    link.deliver(&[Frame::Summary(sound), Frame::Summary(Summary::Wanted(vec![(low, 1)]).write())]).await;
    assert_bad_frames(&mesh, count).await;
}

#[tokio::test]
async fn a_node_says_above_what_it_said_in_a_former_life_what_it_has_to_say_now() {
    let (mesh, mut link, mut shelf) = pair().await;
    let id = mesh.node_id();
    let own = stranger(1);
    assert_eq!(own.node_id, id, "the seed of the node");
    let life = shelf.get((id, LINKS)).unwrap().incarnation;
    let former = Record { version: 40, ..tagged(life + 1_000_000, "former") };
    say(&mut link, &former.sign(&own)).await;
    let key = (id, CAPABILITIES);
    take_until(&mut link, &mut shelf, |shelf| shelf.get(key).is_some()).await;
    let now = shelf.get(key).unwrap();
    assert!(now.body.is_empty(), "it has nothing to say, and takes it back");
    assert_eq!((now.incarnation, now.version), (former.incarnation, former.version + 1));
    assert_eq!(with_tag(&mesh, "former").await, []);
    assert_bad_frames(&mesh, 0).await;
}

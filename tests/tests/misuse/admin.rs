//! Commands, operators, trails and lineages: empty, endless, from the ends of time, and signed by nobody.

use meshground_node::{
    DaemonId, EntityKeypair, GroupId, Lineage, LineageError,
    admin::{
        AdminCommand, AdminVerifier, Assessment, AuditFilter, ClusterPicture, CommandError, IceProposal,
        MAX_COMMAND, MAX_SIGNATURES, Nonce, OperatorError, OperatorId, OperatorKey, Operators, RadiusHash,
        SignedCommand, assess, concerned, named_nodes, simulate,
    },
};
use meshground_shared::{AdminVerb, BlastRadius, IceVerb, MigrationId, Rejection, Verb};

use super::*;

/// Nothing has this id.
const NOTHING: u64 = u64::MAX;

fn key(number: u8) -> OperatorKey {
    OperatorKey::from_seed(format!("operator {number}"), [number; 32])
}

fn cordon(issued: u64, nonce: u8) -> AdminCommand {
    AdminCommand::new(AdminVerb::Cordon { node: NOBODY }, WallTime(issued), Nonce([nonce; 16]))
}

fn at(instant: u64, wall: u64) -> Now {
    Now { instant: Instant::from_micros(instant), wall: WallTime(wall) }
}

#[test]
fn bytes_that_are_no_command_are_refused_and_more_signatures_than_fit_add_nothing() {
    let good = cordon(0, 0).unsigned().encode();
    for (bytes, error) in [
        (vec![], CommandError::Malformed),
        (vec![0; 9], CommandError::Version),
        (vec![u8::MAX; MAX_COMMAND], CommandError::Version),
        (vec![1; MAX_COMMAND + 1], CommandError::TooLong),
        (good[..good.len() - 1].to_vec(), CommandError::Malformed),
        ([&good[..], &[0]].concat(), CommandError::Malformed),
    ] {
        assert_eq!(SignedCommand::parse(&bytes), Err(error), "{} bytes", bytes.len());
    }
    let by =
        |signers: u8| (1..=signers).fold(cordon(NOTHING, 1).unsigned(), |it, number| it.cosign(&key(number)));
    let most = by(u8::try_from(MAX_SIGNATURES).expect("a few"));
    assert_eq!(by(u8::MAX), most, "there is no room for more");
    assert_eq!(most.clone().cosign(&key(1)), most, "it has signed already");
    assert_eq!(SignedCommand::parse(&most.encode()).as_ref(), Ok(&most));
    assert_eq!((most.issued(), most.nonce(), most.radius()), (WallTime(NOTHING), Nonce([1; 16]), None));
    assert_eq!(most.verb(), &Verb::Admin(AdminVerb::Cordon { node: NOBODY }));

    let endless = BlastRadius {
        nodes: vec![NOBODY; 10_000],
        daemons: vec![DaemonId(NOTHING); 10_000],
        drain_delay_ms: u64::MAX,
        warnings: vec!["x".repeat(1 << 20)],
        ..BlastRadius::default()
    };
    for radius in [BlastRadius::default(), endless] {
        let seen = IceProposal::new(IceVerb::FreezeCluster { ttl_ms: u64::MAX }).simulated(radius.clone());
        assert_eq!(seen.radius(), &radius);
        let signed = seen.sign(WallTime(0), Nonce([0; 16]), &key(0));
        assert_eq!(signed.radius(), Some(RadiusHash::of(&radius)));
        assert_eq!(SignedCommand::parse(&signed.encode()), Ok(signed));
    }
}

#[test]
fn operators_that_cannot_be_told_apart_or_are_known_to_all_are_refused() {
    for number in [0, 4, u8::MAX] {
        assert!(OperatorKey::demo(number).is_none());
    }
    assert_eq!(
        Operators::new([OperatorId { name: String::new(), ..key(1).id() }]),
        Err(OperatorError::Name(0))
    );
    let long = OperatorKey::from_seed("x".repeat(1 << 20), [0; 32]);
    assert_eq!(Operators::new([long.id()]), Err(OperatorError::Name(1 << 20)));
    let no_key = OperatorId { name: "nobody".to_owned(), key: [0; 32] };
    assert!(matches!(Operators::new([no_key]), Err(OperatorError::Key(_))));
    assert!(matches!(Operators::new([key(1).id(), key(1).id()]), Err(OperatorError::SameName(_))));
    let nobody = Operators::new([]).expect("nobody at all may command a cluster");
    assert_eq!((nobody.iter().count(), nobody.name(&[0; 32]), nobody.ice_quorum()), (0, None, 2));
    for quorum in [0, MAX_SIGNATURES + 1, usize::MAX] {
        assert_eq!(nobody.clone().with_ice_quorum(quorum), Err(OperatorError::Quorum(quorum)));
    }
    let known = AdminVerifier::new(Operators::demo()).expect_err("everybody knows their keys");
    assert!(known.to_string().contains("demo-1"), "{known}");

    let mut verifier = AdminVerifier::new(nobody).expect("nobody is no demo");
    let signed = cordon(0, 1).sign(&key(1));
    assert!(verifier.signers(&signed).is_empty() && verifier.signers(&cordon(0, 2).unsigned()).is_empty());
    let refused = verifier.prepare(at(0, 0), &signed, Assessment::Possible(None), None);
    assert_eq!(refused.err(), Some(Rejection::NotAuthorized));
    assert_eq!(verifier.refuse(WallTime(NOTHING), &signed), (Vec::new(), false));
}

#[test]
fn a_verifier_at_the_ends_of_time_takes_what_is_fresh_once_and_freezes_as_long_as_it_is_told() {
    let operators = Operators::new([key(1).id(), key(2).id()]).unwrap();
    let mut verifier = AdminVerifier::new(operators).unwrap();
    let end = at(NOTHING, NOTHING);
    let mut judge =
        |now, command: &SignedCommand, seen| verifier.prepare(now, command, seen, Some(DaemonId(0)));
    let possible = Assessment::Possible(None);
    let early = judge(at(0, 0), &cordon(NOTHING, 1).sign(&key(1)), possible);
    assert_eq!(early.err(), Some(Rejection::EnvelopeFromFuture));
    assert_eq!(judge(end, &cordon(0, 2).sign(&key(1)), possible).err(), Some(Rejection::EnvelopeExpired));
    let fresh = cordon(NOTHING, 3).sign(&key(1));
    assert_eq!(judge(end, &fresh, Assessment::Impossible).err(), Some(Rejection::NotApplicable));
    assert_eq!(judge(end, &fresh, possible).err(), Some(Rejection::NonceReplayed));

    let freeze =
        IceProposal::new(IceVerb::FreezeCluster { ttl_ms: u64::MAX }).simulated(BlastRadius::default());
    let radius = RadiusHash::of(freeze.radius());
    let freeze = freeze.sign(WallTime(NOTHING), Nonce([4; 16]), &key(1));
    let alone = judge(end, &freeze, Assessment::Possible(Some(radius)));
    assert_eq!(alone.err(), Some(Rejection::InsufficientSignatures));
    let freeze = freeze.cosign(&key(2));
    let prepared = judge(end, &freeze, Assessment::Either([radius; 2])).unwrap();
    assert_eq!((prepared.nonce(), prepared.operators().len()), (Nonce([4; 16]), 2));
    assert_eq!(prepared.verb(), freeze.verb());
    for _ in 0..2 {
        verifier.commit(end.instant, &prepared);
        verifier.abort(&prepared);
    }
    assert!(
        verifier.is_frozen(Instant::default()) && !verifier.freeze_remaining(Instant::default()).is_zero()
    );
    assert!(verifier.freeze_remaining(end.instant).is_zero(), "time is over");
}

#[test]
fn commands_about_nothing_concern_nobody_and_cannot_be_carried_out() {
    let picture = ClusterPicture::new(NOBODY);
    assert_eq!(picture.live().count(), 0);
    let (group, migration) = (GroupId(NOTHING), MigrationId(NOTHING));
    for verb in [
        IceVerb::ForceEvictReplica { group, index: u32::MAX },
        IceVerb::ForceRestartDaemon { daemon: DaemonId(NOTHING) },
        IceVerb::ForceCutover { migration },
        IceVerb::KillMigration { migration },
        IceVerb::FreezeCluster { ttl_ms: 0 },
        IceVerb::FreezeCluster { ttl_ms: u64::MAX },
    ] {
        assert_eq!(simulate(&verb, &picture), None, "{verb:?}");
        assert_eq!(IceProposal::new(verb.clone()).simulate(&picture), None, "{verb:?}");
        assert_eq!(assess(&Verb::Ice(verb.clone()), &picture, true), Assessment::Impossible, "{verb:?}");
        assert!(named_nodes(&Verb::Ice(verb), &picture).into_iter().eq([NOBODY]), "whose picture it is");
    }
    for verb in [AdminVerb::InvalidatePlacement { group }, AdminVerb::Drain { node: NodeId(0) }] {
        let verb = Verb::Admin(verb);
        assert_eq!(assess(&verb, &picture, true), Assessment::Impossible, "{verb:?}");
        assert!(!concerned(&verb, &picture).contains(&NOBODY), "{verb:?}");
    }
}

#[test]
fn a_trail_of_nothing_has_no_end_and_filters_that_contradict_themselves_let_nothing_through() {
    let trail = meshground_node::admin::AuditTrail::default();
    let none = AuditFilter { from: Some(WallTime(NOTHING)), before: Some(WallTime(0)), ..Default::default() };
    assert_eq!((trail.last_seq(), trail.iter().len()), (0, 0));
    assert!([0, NOTHING].into_iter().all(|seq| trail.after(seq).len() == 0));
    assert_eq!(trail.filter(&none).count(), 0);
    let entry = meshground_shared::AuditEntry {
        seq: NOTHING,
        wall_us: NOTHING,
        nonce: String::new(),
        verb: Verb::Ice(IceVerb::ThawCluster),
        operators: Vec::new(),
        decision: meshground_shared::Decision::Applied,
    };
    assert!(!none.matches(&entry) && AuditFilter::default().matches(&entry));
    let earlier = meshground_shared::AuditEntry { wall_us: NOTHING - 1, ..entry.clone() };
    let latest = AuditFilter { from: Some(WallTime(NOTHING)), ..Default::default() };
    assert!(latest.matches(&entry) && !latest.matches(&earlier));
    let before_all = AuditFilter { before: Some(WallTime(0)), ..Default::default() };
    assert!(!before_all.matches(&meshground_shared::AuditEntry { wall_us: 0, ..earlier }));
    let empty = AuditFilter { operator: Some(String::new()), ..Default::default() };
    assert!(!empty.matches(&entry), "nobody signed it");
}

#[test]
fn keys_of_any_place_sign_anything_and_a_lineage_of_nobody_does_not_hold() {
    for index in [0, u32::MAX] {
        let member = EntityKeypair::of_member(&[0; 32], index);
        for message in [vec![], vec![0; 1 << 20]] {
            let signature = member.sign(&message);
            assert!(EntityKeypair::is_signed(&member.public_key(), &message, &signature));
            assert!(!EntityKeypair::is_signed(&member.public_key(), b"another", &signature));
            assert!(!EntityKeypair::is_signed(&[u8::MAX; 32], &message, &signature), "that is no key");
        }
    }
    let parent = EntityKeypair::from_seed([1; 32]);
    let made_up = Lineage {
        parent: parent.origin_hash(),
        parent_key: parent.public_key(),
        processed: u64::MAX,
        state_hash: Lineage::state_hash(&[]),
        index: u32::MAX,
        child_key: [0; 32],
        path: vec![[0; 32]; 6],
        signature: [0; 64],
    };
    assert_eq!(made_up.verify(), Err(LineageError::NotSigned));
    for (index, path) in [(0, 0), (0, 1_000), (64, 6), (63, 6)] {
        let made_up = Lineage { index, path: vec![[0; 32]; path], ..made_up.clone() };
        assert_eq!(made_up.verify(), Err(LineageError::NotSigned), "place {index}, {path} hashes");
        assert_ne!(made_up.child(), made_up.parent);
    }
    let nobodys = Lineage { parent: DaemonId(NOTHING), ..made_up };
    assert_eq!(nobodys.verify(), Err(LineageError::WrongParent));
}

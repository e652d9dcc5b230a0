//! One node's judgement on signed commands.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::{AdminVerb, DaemonId, Decision, IceVerb, Rejection, Verb};

use super::{
    Assessment, Nonce, Operators, SignedCommand,
    cooldown::{COOLDOWN, Cooldowns, Subject},
    history::Known,
    nonces::Nonces,
};
use crate::{
    identity::verify,
    time::{Instant, Now, WallTime},
};

/// How old a command may be.
pub(super) const MAX_AGE: Duration = Duration::from_mins(5);

/// How far ahead of this node's clock a command may have been issued.
pub(super) const MAX_AHEAD: Duration = Duration::from_secs(30);

/// Judges commands by who signed them and when, by what was commanded before, and by whether the cluster is frozen. Each node
/// has one of its own, so the same command can be carried out on every node, once on each.
///
/// While a freeze is in effect, admin commands that place, move or restart anything are refused: drain, enter and exit
/// maintenance, drop replicas, invalidate placement, restart all daemons. Cordon, uncordon and clear avoid list only say what may
/// be done later and go through. So do all break-glass commands: a freeze keeps routine and automatic decisions from making
/// things worse, and breaking glass is how several people intervene meanwhile.
#[derive(Debug, Clone)]
pub struct AdminVerifier {
    /// None where everybody may command.
    operators: Option<Operators>,
    nonces: Nonces,
    cooldowns: Cooldowns,
    frozen_until: Option<Instant>,
}

/// Operators among whom somebody is whose key everybody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("everybody knows the key of {0:?}; demo operators are for playgrounds, which allow them by name")]
pub struct DemoOperators(pub String);

/// A command that this node would carry out: its nonce is used up and its subject held. To be given back to the verifier, by
/// [`commit`](AdminVerifier::commit) or [`abort`](AdminVerifier::abort).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the command's subject is held until it is committed or aborted"]
pub struct Prepared {
    verb: Verb,
    nonce: Nonce,
    operators: Vec<String>,
    subject: Option<Subject>,
}

impl Prepared {
    /// What is to be done.
    pub fn verb(&self) -> &Verb {
        &self.verb
    }

    /// The command's nonce.
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Who signed it, by name.
    pub fn operators(&self) -> &[String] {
        &self.operators
    }
}

impl AdminVerifier {
    /// A verifier that carries out what these operators sign.
    ///
    /// # Errors
    ///
    /// When one of them has a demo key, which everybody knows.
    pub fn new(operators: Operators) -> Result<Self, DemoOperators> {
        match operators.first_demo() {
            Some(name) => Err(DemoOperators(name.to_owned())),
            None => Ok(Self::allow_demo(operators)),
        }
    }

    /// A verifier for a playground: demo operators may be among these.
    pub fn allow_demo(operators: Operators) -> Self {
        Self { operators: Some(operators), ..Self::open() }
    }

    /// What a cluster without operators has: anyone may command it, signed or not, and no signature is looked at. Everything
    /// else holds all the same.
    pub fn open() -> Self {
        Self {
            operators: None,
            nonces: Nonces::default(),
            cooldowns: Cooldowns::default(),
            frozen_until: None,
        }
    }

    /// Judges a command, and reserves what it needs if this node would carry it out. A nonce is used up as soon as a
    /// command is known to be an operator's and fresh, whatever is decided then: nobody can bring up again what was refused.
    /// `moved` is the daemon of the migration that the command names, if this node knows of it.
    ///
    /// # Errors
    ///
    /// Why this node would not carry it out. The first of these that holds: not authorized, signature invalid, insufficient
    /// signatures, envelope expired or from the future, nonce replayed, simulation required, not applicable, freeze in effect,
    /// cooldown active, overloaded.
    pub fn prepare(
        &mut self,
        now: Now,
        command: &SignedCommand,
        assessment: Assessment,
        moved: Option<DaemonId>,
    ) -> Result<Prepared, Rejection> {
        let operators = self.authenticate(command)?;
        self.use_up(now.wall, command)?;
        match (assessment, command.radius()) {
            (Assessment::Possible(Some(radius)), named) if named != Some(radius) => {
                return Err(Rejection::SimulationRequired);
            }
            (Assessment::Either(radii), named) if !named.is_some_and(|named| radii.contains(&named)) => {
                return Err(Rejection::SimulationRequired);
            }
            (_, None) if matches!(command.verb(), Verb::Ice(_)) => return Err(Rejection::SimulationRequired),
            (Assessment::Impossible, _) => return Err(Rejection::NotApplicable),
            _ => {}
        }
        if self.is_frozen(now.instant) && waits_for_thaw(command.verb()) {
            return Err(Rejection::FreezeInEffect);
        }
        let subject = match command.verb() {
            Verb::Admin(_) => None,
            Verb::Ice(verb) => {
                let subject = Subject::of(verb, moved);
                self.cooldowns.hold(now.instant, subject)?;
                Some(subject)
            }
        };
        Ok(Prepared { verb: command.verb().clone(), nonce: command.nonce(), operators, subject })
    }

    /// Whether a command had better be judged a moment later: a thaw while a freeze is being decided on. It is exempt from all
    /// waiting but this, as nodes could end up differing.
    pub(super) fn must_wait(&self, command: &SignedCommand) -> bool {
        matches!(command.verb(), Verb::Ice(IceVerb::ThawCluster)) && self.cooldowns.is_freezing()
    }

    /// The command takes effect: its subject begins to cool down, and a freeze begins or ends.
    pub fn commit(&mut self, now: Instant, prepared: &Prepared) {
        if let Some(subject) = prepared.subject {
            self.cooldowns.release(subject, Some(now));
        }
        match prepared.verb {
            Verb::Ice(IceVerb::FreezeCluster { ttl_ms }) => {
                self.frozen_until = Some(now + Duration::from_millis(ttl_ms));
            }
            Verb::Ice(IceVerb::ThawCluster) => self.frozen_until = None,
            _ => {}
        }
    }

    /// The command does not take effect: its subject is free again. Its nonce stays used.
    pub fn abort(&mut self, prepared: &Prepared) {
        if let Some(subject) = prepared.subject {
            self.cooldowns.release(subject, None);
        }
    }

    /// Takes note of a command that was refused without this node having been asked: its nonce is used up here as well if it is
    /// an operator's and fresh. Returns who signed it, by name, signatures that do not hold left out; and whether it is
    /// an operator's.
    pub fn refuse(&mut self, now: WallTime, command: &SignedCommand) -> (Vec<String>, bool) {
        match self.authenticate(command) {
            Ok(operators) => {
                // Expired or used up already is just as well.
                let _ = self.use_up(now, command);
                (operators, true)
            }
            Err(_) => (self.signers(command), false),
        }
    }

    /// Whether operators have signed a command, and enough of them, and not in the future; however long ago.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn vouch(&self, now: WallTime, command: &SignedCommand) -> Result<Vec<String>, Rejection> {
        let operators = self.authenticate(command)?;
        let issued = command.issued();
        let is_ahead = issued > now && now.abs_diff(issued) > MAX_AHEAD;
        if is_ahead { Err(Rejection::EnvelopeFromFuture) } else { Ok(operators) }
    }

    /// Takes note of what others did with a command, whose signatures hold: here its nonce is used up as well, and its
    /// subject cools down. Returns who signed it, by name.
    pub(super) fn hear(&mut self, now: Now, known: &Known) -> Vec<String> {
        let Known { command, decision, decided, .. } = known;
        // Old ones are expired, and need no nonce.
        let _ = self.use_up(now.wall, command);
        if let (Verb::Ice(verb), Decision::Applied) = (command.verb(), decision)
            && !matches!(verb, IceVerb::ThawCluster)
        {
            let age = Duration::from_micros(now.wall.0.saturating_sub(decided.0));
            // Of a migration that is over nobody says whose it was.
            self.cooldowns.cool(now.instant + COOLDOWN.saturating_sub(age), Subject::of(verb, None));
        }
        self.signers(command)
    }

    /// A freeze that was commanded without this node lasts for so long yet; or is over.
    pub(super) fn stand_frozen(&mut self, now: Instant, left: Duration) {
        self.frozen_until = (!left.is_zero()).then(|| now + left);
    }

    /// Who signed a command, by name; signatures that do not hold are left out.
    pub fn signers(&self, command: &SignedCommand) -> Vec<String> {
        let Some(operators) = &self.operators else { return Vec::new() };
        let message = command.signed_bytes();
        let names: BTreeSet<&str> = command
            .signatures()
            .filter(|(key, signature)| verify(key, &message, signature).is_ok())
            .filter_map(|(key, _)| operators.name(&key))
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// How long the freeze that is in effect still lasts; zero if there is none.
    pub fn freeze_remaining(&self, now: Instant) -> Duration {
        self.frozen_until.map_or(Duration::ZERO, |until| until.saturating_since(now))
    }

    /// Whether a freeze is in effect. Ask this, rather than count for yourself, before anything is placed, moved or restarted.
    pub fn is_frozen(&self, now: Instant) -> bool {
        !self.freeze_remaining(now).is_zero()
    }

    /// How much is held of everything that is bounded.
    #[cfg(feature = "floor")]
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        self.nonces.gauge(each);
        self.cooldowns.gauge(each);
    }

    /// Who signed, if they all are who they say and are enough.
    fn authenticate(&self, command: &SignedCommand) -> Result<Vec<String>, Rejection> {
        let Some(operators) = &self.operators else { return Ok(Vec::new()) };
        let mut names = BTreeSet::new();
        for (key, _) in command.signatures() {
            names.insert(operators.name(&key).ok_or(Rejection::NotAuthorized)?);
        }
        if names.is_empty() {
            return Err(Rejection::NotAuthorized);
        }
        let message = command.signed_bytes();
        for (key, signature) in command.signatures() {
            verify(&key, &message, &signature).map_err(|_| Rejection::SignatureInvalid)?;
        }
        let needed = if matches!(command.verb(), Verb::Ice(_)) { operators.ice_quorum() } else { 1 };
        if names.len() < needed {
            return Err(Rejection::InsufficientSignatures);
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Uses a fresh command's nonce up.
    fn use_up(&mut self, now: WallTime, command: &SignedCommand) -> Result<(), Rejection> {
        let issued = command.issued();
        let apart = now.abs_diff(issued);
        if issued > now && apart > MAX_AHEAD {
            return Err(Rejection::EnvelopeFromFuture);
        }
        if issued < now && apart > MAX_AGE || self.nonces.is_forgotten(issued) {
            return Err(Rejection::EnvelopeExpired);
        }
        let age = u64::try_from(MAX_AGE.as_micros()).unwrap_or(u64::MAX);
        self.nonces.forget_before(WallTime(now.0.saturating_sub(age)));
        if self.nonces.use_up(command.nonce(), issued) { Ok(()) } else { Err(Rejection::NonceReplayed) }
    }
}

/// Whether a command places, moves or restarts anything, by routine.
fn waits_for_thaw(verb: &Verb) -> bool {
    match verb {
        Verb::Ice(_) => false,
        Verb::Admin(verb) => match verb {
            AdminVerb::Drain { .. }
            | AdminVerb::EnterMaintenance { .. }
            | AdminVerb::ExitMaintenance { .. }
            | AdminVerb::DropReplicas { .. }
            | AdminVerb::InvalidatePlacement { .. }
            | AdminVerb::RestartAllDaemons { .. } => true,
            AdminVerb::Cordon { .. } | AdminVerb::Uncordon { .. } | AdminVerb::ClearAvoidList { .. } => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{BlastRadius, GroupId, MigrationId, NodeId};

    use super::*;
    use crate::admin::{AdminCommand, IceProposal, OperatorKey, RadiusHash, envelope::tests::every_verb};

    const START: u64 = 1_000_000_000_000;
    const SECOND: u64 = 1_000_000;

    /// So many seconds after the start.
    fn at(seconds: u64) -> Now {
        let micros = seconds * SECOND;
        Now { instant: Instant::from_micros(micros), wall: WallTime(START + micros) }
    }

    fn key(number: u8) -> OperatorKey {
        OperatorKey::demo(number).unwrap()
    }

    fn verifier() -> AdminVerifier {
        AdminVerifier::allow_demo(Operators::demo())
    }

    fn shown() -> Assessment {
        Assessment::Possible(Some(RadiusHash::of(&BlastRadius::default())))
    }

    fn drain(issued: Now, nonce: u8) -> AdminCommand {
        AdminCommand::new(AdminVerb::Drain { node: NodeId(1) }, issued.wall, Nonce([nonce; 16]))
    }

    fn ice(verb: IceVerb, issued: Now, nonce: u8) -> SignedCommand {
        let simulated = IceProposal::new(verb).simulated(BlastRadius::default());
        simulated.sign(issued.wall, Nonce([nonce; 16]), &key(1)).cosign(&key(2))
    }

    fn freeze(issued: Now, nonce: u8) -> SignedCommand {
        ice(IceVerb::FreezeCluster { ttl_ms: 400_000 }, issued, nonce)
    }

    fn judge(verifier: &mut AdminVerifier, now: Now, command: &SignedCommand) -> Result<Prepared, Rejection> {
        let ice = matches!(command.verb(), Verb::Ice(_));
        verifier.prepare(now, command, if ice { shown() } else { Assessment::Possible(None) }, None)
    }

    fn carry_out(verifier: &mut AdminVerifier, now: Now, command: &SignedCommand) {
        let prepared = judge(verifier, now, command).unwrap();
        verifier.commit(now.instant, &prepared);
    }

    #[test]
    fn one_operator_is_enough_for_an_admin_command_and_is_named() {
        let prepared = judge(&mut verifier(), at(0), &drain(at(0), 1).sign(&key(2))).unwrap();
        assert_eq!(prepared.operators(), ["demo-2"]);
        assert_eq!(prepared.nonce(), Nonce([1; 16]));
        assert_eq!(prepared.verb().name(), "drain");
    }

    #[test]
    fn demo_keys_are_refused_outside_a_playground() {
        assert!(
            matches!(AdminVerifier::new(Operators::demo()), Err(DemoOperators(name)) if name.starts_with("demo-"))
        );
        let renamed = super::super::OperatorId { name: "me".into(), key: key(3).public_key() };
        assert!(AdminVerifier::new(Operators::new([renamed]).unwrap()).is_err());
        let own = OperatorKey::from_seed("me", [1; 32]);
        assert!(AdminVerifier::new(Operators::new([own.id()]).unwrap()).is_ok());
    }

    #[test]
    fn an_unsigned_command_or_one_by_a_stranger_is_not_authorized() {
        let stranger = OperatorKey::from_seed("demo-1", [1; 32]);
        let commands = [
            drain(at(0), 1).unsigned(),
            drain(at(0), 1).sign(&stranger),
            drain(at(0), 1).sign(&key(1)).cosign(&stranger),
        ];
        let mut verifier = verifier();
        for command in &commands {
            assert_eq!(judge(&mut verifier, at(0), command), Err(Rejection::NotAuthorized));
        }
        assert!(
            judge(&mut verifier, at(0), &drain(at(0), 1).sign(&key(1))).is_ok(),
            "no stranger uses up a nonce"
        );
    }

    #[test]
    fn without_operators_anyone_may_command_but_once() {
        let mut open = AdminVerifier::open();
        assert_eq!(judge(&mut open, at(0), &drain(at(0), 1).unsigned()).unwrap().operators(), [""; 0]);
        assert_eq!(judge(&mut open, at(0), &drain(at(0), 1).unsigned()), Err(Rejection::NonceReplayed));
        assert_eq!(judge(&mut open, at(301), &drain(at(0), 2).unsigned()), Err(Rejection::EnvelopeExpired));
    }

    #[test]
    fn a_signature_that_does_not_hold_spoils_the_command() {
        let spoiled = drain(at(0), 1).sign(&key(1)).cosign(&key(2)).spoil(1);
        let mut verifier = verifier();
        assert_eq!(judge(&mut verifier, at(0), &spoiled), Err(Rejection::SignatureInvalid));
        assert_eq!(verifier.signers(&spoiled), ["demo-1"]);
        assert!(judge(&mut verifier, at(0), &drain(at(0), 1).sign(&key(1))).is_ok());
    }

    #[test]
    fn breaking_glass_takes_several_different_operators() {
        let verb = IceVerb::FlushAvoidLists;
        let simulated = IceProposal::new(verb).simulated(BlastRadius::default());
        let alone = simulated.sign(at(0).wall, Nonce([1; 16]), &key(1));
        let twice = alone.clone().repeat(0);
        let mut verifier = verifier();
        for command in [&alone, &twice] {
            assert_eq!(judge(&mut verifier, at(0), command), Err(Rejection::InsufficientSignatures));
        }
        assert!(judge(&mut verifier, at(0), &alone.cosign(&key(3))).is_ok());
    }

    #[test]
    fn breaking_glass_takes_as_many_operators_as_is_said_neither_more_nor_fewer() {
        let simulated = || IceProposal::new(IceVerb::FlushAvoidLists).simulated(BlastRadius::default());
        let by = |count: u8| {
            let first = simulated().sign(at(0).wall, Nonce([count; 16]), &key(1));
            (2..=count).fold(first, |command, number| command.cosign(&key(number)))
        };
        for quorum in 1..=3 {
            let operators = Operators::demo().with_ice_quorum(quorum).unwrap();
            for count in 1..=3 {
                let judged = judge(&mut AdminVerifier::allow_demo(operators.clone()), at(0), &by(count));
                let expected =
                    if usize::from(count) < quorum { Err(Rejection::InsufficientSignatures) } else { Ok(()) };
                assert_eq!(judged.map(drop), expected, "{count} of {quorum}");
            }
            // Others are still signed by one.
            let mut verifier = AdminVerifier::allow_demo(operators);
            assert!(judge(&mut verifier, at(0), &drain(at(0), 9).sign(&key(1))).is_ok());
        }
    }

    #[test]
    fn a_command_is_fresh_for_300_seconds_and_from_30_seconds_before() {
        let command = drain(at(1_000), 1).sign(&key(1));
        let judge =
            |now: Now| verifier().prepare(now, &command, Assessment::Possible(None), None).map(|_| ());
        assert_eq!(judge(at(969)), Err(Rejection::EnvelopeFromFuture));
        assert_eq!(judge(at(970)), Ok(()));
        assert_eq!(judge(at(1_300)), Ok(()));
        assert_eq!(judge(at(1_301)), Err(Rejection::EnvelopeExpired));
    }

    #[test]
    fn a_nonce_is_accepted_once_even_if_the_clock_goes_back() {
        let mut verifier = verifier();
        let command = drain(at(0), 1).sign(&key(1));
        let prepared = judge(&mut verifier, at(0), &command).unwrap();
        assert_eq!(judge(&mut verifier, at(0), &command), Err(Rejection::NonceReplayed));
        verifier.abort(&prepared);
        assert_eq!(judge(&mut verifier, at(1), &command), Err(Rejection::NonceReplayed));
        // Time goes on until the nonce is forgotten, and comes back.
        judge(&mut verifier, at(301), &drain(at(301), 2).sign(&key(1))).map(|_| ()).unwrap();
        assert_eq!(judge(&mut verifier, at(1), &command), Err(Rejection::EnvelopeExpired));
    }

    #[test]
    fn what_was_refused_cannot_be_brought_up_again() {
        let mut verifier = verifier();
        carry_out(&mut verifier, at(0), &freeze(at(0), 1));
        let refused = drain(at(0), 2).sign(&key(1));
        assert_eq!(judge(&mut verifier, at(0), &refused), Err(Rejection::FreezeInEffect));
        carry_out(&mut verifier, at(1), &ice(IceVerb::ThawCluster, at(1), 3));
        assert_eq!(judge(&mut verifier, at(2), &refused), Err(Rejection::NonceReplayed));
        let elsewhere = drain(at(0), 4).sign(&key(1));
        assert_eq!(verifier.refuse(at(2).wall, &elsewhere), (vec!["demo-1".to_owned()], true));
        assert_eq!(judge(&mut verifier, at(2), &elsewhere), Err(Rejection::NonceReplayed));
    }

    #[test]
    fn breaking_glass_needs_the_blast_radius_of_now() {
        let mut verifier = verifier();
        let other = RadiusHash::of(&BlastRadius { drain_delay_ms: 1, ..BlastRadius::default() });
        let moved_on = verifier.prepare(at(0), &freeze(at(0), 1), Assessment::Possible(Some(other)), None);
        assert_eq!(moved_on, Err(Rejection::SimulationRequired));
        for (nonce, assessment) in [(2, shown()), (3, Assessment::Bystander), (4, Assessment::Impossible)] {
            let unsimulated =
                SignedCommand::unsimulated(IceVerb::ThawCluster, at(0).wall, Nonce([nonce; 16]));
            let unsimulated = unsimulated.cosign(&key(1)).cosign(&key(2));
            assert_eq!(
                verifier.prepare(at(0), &unsimulated, assessment, None),
                Err(Rejection::SimulationRequired)
            );
        }
        assert!(verifier.prepare(at(0), &freeze(at(0), 5), Assessment::Bystander, None).is_ok());
    }

    #[test]
    fn what_cannot_be_carried_out_is_not_applicable() {
        let command = drain(at(0), 1).sign(&key(1));
        assert_eq!(
            verifier().prepare(at(0), &command, Assessment::Impossible, None),
            Err(Rejection::NotApplicable)
        );
    }

    #[test]
    fn a_subject_cools_down_for_300_seconds_each_by_itself() {
        let mut verifier = verifier();
        let evict =
            |index, now, nonce| ice(IceVerb::ForceEvictReplica { group: GroupId(1), index }, now, nonce);
        carry_out(&mut verifier, at(0), &evict(0, at(0), 1));
        assert_eq!(judge(&mut verifier, at(299), &evict(0, at(299), 2)), Err(Rejection::IceCooldownActive));
        carry_out(&mut verifier, at(299), &evict(1, at(299), 3));
        carry_out(&mut verifier, at(300), &evict(0, at(300), 4));
        let migration = MigrationId(1);
        carry_out(&mut verifier, at(300), &ice(IceVerb::ForceCutover { migration }, at(300), 5));
        carry_out(&mut verifier, at(300), &ice(IceVerb::KillMigration { migration }, at(300), 6));
    }

    #[test]
    fn another_migration_of_the_same_daemon_waits_as_the_same_one_does() {
        let mut verifier = verifier();
        let mut judge = |number, daemon, now, nonce| {
            let migration = MigrationId(number);
            for (verb, nonce) in [
                (IceVerb::ForceCutover { migration }, nonce),
                (IceVerb::KillMigration { migration }, nonce + 1),
            ] {
                let prepared =
                    verifier.prepare(now, &ice(verb, now, nonce), shown(), Some(DaemonId(daemon)))?;
                verifier.commit(now.instant, &prepared);
            }
            Ok(())
        };
        assert_eq!(judge(1, 7, at(0), 1), Ok(()));
        assert_eq!(judge(2, 7, at(299), 3), Err(Rejection::IceCooldownActive));
        assert_eq!(judge(3, 8, at(299), 5), Ok(()), "another daemon is another target");
        assert_eq!(judge(4, 7, at(300), 7), Ok(()));
    }

    #[test]
    fn a_subject_is_held_while_prepared_and_free_after_an_abort() {
        let mut verifier = verifier();
        let prepared = judge(&mut verifier, at(0), &freeze(at(0), 1)).unwrap();
        assert_eq!(judge(&mut verifier, at(0), &freeze(at(0), 2)), Err(Rejection::IceCooldownActive));
        let thaw = ice(IceVerb::ThawCluster, at(0), 3);
        assert_eq!(
            judge(&mut verifier, at(0), &thaw),
            Err(Rejection::IceCooldownActive),
            "or nodes could end up differing"
        );
        verifier.abort(&prepared);
        carry_out(&mut verifier, at(0), &freeze(at(0), 4));
    }

    #[test]
    fn a_thaw_never_cools_down() {
        let mut verifier = verifier();
        carry_out(&mut verifier, at(0), &freeze(at(0), 1));
        for nonce in 2..5 {
            carry_out(&mut verifier, at(1), &ice(IceVerb::ThawCluster, at(1), nonce));
        }
        assert!(!verifier.is_frozen(at(1).instant));
        assert_eq!(judge(&mut verifier, at(2), &freeze(at(2), 5)), Err(Rejection::IceCooldownActive));
    }

    #[test]
    fn a_freeze_stops_routine_that_moves_things_until_it_is_over_and_nothing_else() {
        let mut verifier = verifier();
        carry_out(&mut verifier, at(0), &freeze(at(0), 0));
        assert_eq!(verifier.freeze_remaining(at(1).instant), Duration::from_secs(399));
        let goes_through = [
            "cordon",
            "uncordon",
            "clear_avoid_list",
            "thaw_cluster",
            "flush_avoid_lists",
            "force_evict_replica",
        ];
        let more = ["force_restart_daemon", "force_cutover", "kill_migration"];
        for (nonce, verb) in (1..).zip(every_verb()) {
            let command = match verb.clone() {
                Verb::Admin(verb) => AdminCommand::new(verb, at(1).wall, Nonce([nonce; 16])).sign(&key(1)),
                Verb::Ice(verb) => ice(verb, at(1), nonce),
            };
            let judged = judge(&mut verifier, at(1), &command).map(|prepared| verifier.abort(&prepared));
            let expected = match verb.name() {
                name if goes_through.contains(&name) || more.contains(&name) => Ok(()),
                "freeze_cluster" => Err(Rejection::IceCooldownActive),
                _ => Err(Rejection::FreezeInEffect),
            };
            assert_eq!(judged, expected, "{verb:?}");
        }
        assert!(judge(&mut verifier, at(400), &drain(at(400), 100).sign(&key(1))).is_ok());
    }
}

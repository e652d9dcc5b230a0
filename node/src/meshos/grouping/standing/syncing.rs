//! Bringing standbys what an active works off, and telling of it when they have it.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::{DaemonId, GroupId, GroupKind, Lifecycle, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    super::super::{
        MeshOs,
        desk::{Asked, SYNC, answer},
    },
    NEAR, PAUSE, PIECE, REUNITED,
};
use crate::{
    compute::{
        Luggage, WorkedOff, generation,
        groups::{Follower, InSync, Incarnation, Journal, Lives, LogEntry, Piece},
    },
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
    wire,
};

/// What [`SYNC`] brings.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::meshos) struct Push {
    pub(super) group: u64,
    pub(super) generation: u64,
    pub(super) life: u64,
    /// What this incarnation went on from.
    pub(super) before: Option<(Incarnation, u64)>,
    /// With this event the end is reached, as soon as all that came before is there; and who goes on from it, a node and its life,
    /// if somebody is to.
    pub(super) end: Option<(u64, Option<(u64, u64)>)>,
    /// Who has to have what is told of.
    pub(super) in_sync: Option<InSync>,
    pub(super) what: What,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::meshos) enum What {
    Entries { first: u64, entries: Vec<LogEntry> },
    Piece(Piece),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::meshos) enum Ack {
    /// What is there of this incarnation.
    Holds { have: Option<u64>, base_at: u64, offset: u64, sealed: bool, knows: u64, life: u64 },
    /// A newer incarnation is known, or somebody is about to begin one.
    Unwanted,
    /// The group is none of its business, and it holds nothing of it.
    Nothing,
}

impl MeshOs {
    /// A standby group's daemon worked something off.
    pub(in crate::meshos) fn worked_off(
        &mut self,
        now: Now,
        node: &mut Node,
        id: DaemonId,
        worked: WorkedOff,
    ) {
        let Some((group, active, journal)) = self.groups.standbys.worked_by(id) else { return };
        journal.append(worked.entry.clone());
        active.unsynced.push_back((journal.end(), worked));
        self.sync(now, node, group);
    }

    /// A state of the daemon was taken, for whatever purpose: the journal goes on from it.
    pub(in crate::meshos::grouping) fn rebase(
        &mut self,
        now: Now,
        node: &mut Node,
        id: DaemonId,
        luggage: Option<&Luggage>,
    ) {
        let Some((group, active, journal)) = self.groups.standbys.worked_by(id) else { return };
        active.is_asking_state = false;
        let Some(luggage) = luggage else { return };
        let mut luggage = luggage.clone();
        active.teach(&mut luggage);
        journal.rebase(journal.end(), wire::encode(&luggage).into());
        for follower in active.followers.values_mut() {
            follower.offset = 0;
        }
        self.sync(now, node, group);
    }

    /// Sends every standby what it lacks, and tells what all of them have.
    pub(super) fn sync(&mut self, now: Now, node: &mut Node, group: GroupId) {
        self.name_in_sync(now.instant, group);
        let mut pushes = Vec::new();
        let life = self.life;
        let standbys = &mut self.groups.standbys;
        let Some((active, journal)) = standbys.active(group) else { return };
        for (&host, follower) in &mut active.followers {
            let follows_another = follower.knows_end && !journal.sealed;
            if follows_another || follower.pause_until.is_some_and(|until| until > now.instant) {
                continue;
            }
            let is_here = self.groups.presence.get(&host).is_some_and(|presence| presence.is_here);
            let told = active.guard.told_to(host);
            let Some(what) = next_push(journal, follower, told).filter(|_| is_here && !follower.is_asking)
            else {
                if !follower.is_asking {
                    follower.heard = now.instant;
                }
                continue;
            };
            follower.is_asking = true;
            let heir = journal.heir.map(|(node, life)| (node.0, life));
            let end = journal.sealed.then_some((journal.end(), heir));
            let (generation, before) = (journal.of.generation, journal.before);
            let in_sync = told.cloned();
            let push = Push { group: group.0, generation, life, before, end, in_sync, what };
            pushes.push((host, wire::encode(&push)));
        }
        for (host, body) in pushes {
            self.ask(now, node, host, SYNC, body, Asked::Sync { group, to: host });
        }
        self.tell_synced(now, node, group);
    }

    /// Says which standbys have to have what is told of from now on, as far as that may change.
    fn name_in_sync(&mut self, now: Instant, group: GroupId) {
        let Some(entry) = self.groups.ledger.get(group) else { return };
        let hosts: BTreeSet<NodeId> = entry.hosts().map(|(_, host)| host).collect();
        let standbys = &mut self.groups.standbys;
        let (Some(active), Some(journal)) =
            (standbys.actives.get_mut(&group), standbys.journals.get_mut(&group))
        else {
            return;
        };
        // It may be gone from here already, and what it takes along says who was in sync.
        let instance = self.registry.get(active.daemon);
        let is_moving = instance.is_none_or(|instance| instance.lifecycle == Lifecycle::Migrating);
        if is_moving || journal.sealed || journal.of != active.of {
            return;
        }
        let (mut ready, mut lasting) = (Lives::new(), Lives::new());
        for (host, follower) in &active.followers {
            if follower.counts && follower.have.is_some() {
                let which = if hosts.contains(host) { &mut ready } else { &mut lasting };
                which.insert(host.0, follower.life);
            }
        }
        let (followers, parted) = (&active.followers, &standbys.parted);
        // As long as somebody is away it may have taken over, having asked those who forgot that since.
        let presence = &self.groups.presence;
        let all_here = presence.iter().all(|(node, it)| {
            let has_come = it.is_here && now.saturating_since(it.since) >= REUNITED;
            has_come || *node == self.local || parted.contains(node)
        });
        let is_gone = |node: NodeId, life: u64| {
            let follower = followers.get(&node);
            let forgot = |it: &Follower| it.has_resigned || (it.life != life && it.life != 0);
            parted.contains(&node) || (all_here && follower.is_some_and(forgot))
        };
        // Whoever's place was given away is counted on until enough of those that are to stand by can be.
        let places = entry.places().len().saturating_sub(1);
        active.guard.propose(ready, &lasting, places, followers, is_gone);
        journal.note(active.guard.told().cloned());
    }

    /// Lets out what was worked off and is held by all that have to have it.
    pub(super) fn tell_synced(&mut self, now: Now, node: &mut Node, group: GroupId) {
        let alone = self.groups.ledger.get(group).is_some_and(|entry| entry.spec.desired == 1);
        let Some((active, journal)) = self.groups.standbys.active(group) else { return };
        active.guard.heard(&active.followers, journal.end());
        let Some(confirmed) = active.guard.confirm(&active.followers, alone, journal.end()) else { return };
        let daemon = active.daemon;
        let is_due = active.hushed.take_if(|until| *until <= confirmed).is_some();
        let mut told = Vec::new();
        while active.unsynced.front().is_some_and(|(number, _)| *number <= confirmed) {
            told.extend(active.unsynced.pop_front().map(|(_, worked)| worked));
        }
        if is_due {
            self.registry.hush(daemon, false);
        } else if told.is_empty() {
            return;
        }
        for WorkedOff { entry, sends } in told {
            if let Some(receipt) = entry.receipt {
                self.registry.settle(daemon, receipt, entry.outcome);
            }
            for (to, payload, token) in sends {
                self.send_from(now.instant, daemon, to, payload, token);
            }
        }
        self.pay(now, node, daemon);
    }

    /// The daemon's node brings what this one is to hold.
    pub(in crate::meshos) fn on_sync(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        let push = wire::decode::<Push>(body).ok();
        let push = push.filter(|push| {
            push.generation <= generation::LAST && push.in_sync.as_ref().is_none_or(InSync::is_sound)
        });
        let Some(Push { group, generation, life, before: goes_on, end, in_sync, what }) = push else {
            _ = node.end_reply(now, call, Err(CallError::Malformed));
            return;
        };
        let (group, of) = (GroupId(group), Incarnation::new(generation, call.peer));
        let local = self.local;
        let is_mine = self.groups.ledger.get(group).is_some_and(|entry| {
            entry.spec.kind == GroupKind::Standby && entry.hosts().any(|(_, host)| host == local)
        });
        let known = self.groups.standbys.journals.get(&group);
        let is_older = known.is_some_and(|journal| journal.of > of || journal.is_fenced(of));
        if is_older {
            // Whoever asked may be gone before anybody else heard of it: somebody has to find out.
            let promised = known.map_or(Incarnation::NONE, Journal::promised);
            if promised > of {
                self.observe(group, promised);
            }
            return answer(now, node, call, &wire::encode(&Ack::Unwanted));
        }
        if !is_mine && known.is_none_or(|journal| journal.base().is_none()) {
            return answer(now, node, call, &wire::encode(&Ack::Nothing));
        }
        let journal = self.groups.standbys.journals.entry(group);
        let journal = journal.or_insert_with(|| Journal::new(Incarnation::NONE, life));
        let before = (journal.base().is_some(), journal.of, journal.sealed);
        if let Some(goes_on) = goes_on {
            journal.follow(of, goes_on, life);
        }
        let mut offset = 0;
        match what {
            What::Piece(piece) => {
                let least = goes_on.map_or(0, |(_, last)| last);
                offset = journal.take_piece((of, life), least, piece);
                if journal.of == of {
                    journal.before = goes_on;
                }
            }
            What::Entries { first, entries } if journal.of == of => {
                journal.extend(first, entries);
            }
            What::Entries { .. } => {}
        }
        let is_current = journal.of == of && journal.base().is_some();
        if let Some((_, heir)) = end.filter(|(last, _)| is_current && *last == journal.end()) {
            (journal.sealed, journal.heir) = (true, heir.map(|(node, life)| (NodeId(node), life)));
        }
        let have = is_current.then_some(journal.end());
        let sealed = is_current && journal.sealed;
        if is_current {
            journal.note(in_sync);
        }
        let noted = journal.in_sync.as_ref().filter(|_| is_current);
        let version = noted.map_or(0, |noted| noted.version_of(of));
        let base_at = journal.base().filter(|_| is_current).map_or(0, |(at, _)| at);
        if before == (journal.base().is_some(), journal.of, journal.sealed) {
            self.say_within(now, Duration::from_secs(1));
        } else {
            self.say_soon(now);
            self.groups.dirty = true;
        }
        if is_current {
            self.observe(group, of);
            self.has_begun(group, of);
        }
        answer(
            now,
            node,
            call,
            &wire::encode(&Ack::Holds { have, base_at, offset, sealed, knows: version, life: self.life }),
        );
    }

    /// A standby said what it holds, or nothing.
    pub(in crate::meshos) fn on_synced(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        to: NodeId,
        said: &Result<Vec<u8>, CallError>,
    ) {
        let Some((active, journal)) = self.groups.standbys.active(group) else { return };
        let Some(follower) = active.followers.get_mut(&to) else { return };
        follower.is_asking = false;
        let mut moved = false;
        match said.as_ref().map(|body| wire::decode::<Ack>(body)) {
            Ok(Ok(Ack::Holds { have, base_at, offset, sealed, knows, life })) => {
                // Nobody holds what there never was.
                let have = have.filter(|have| *have <= journal.end());
                let seen = |it: &Follower| (it.have, it.base_at, it.offset, it.knows_end, it.knows);
                let before = seen(follower);
                (follower.have, follower.base_at, follower.offset) = (have, base_at, offset);
                (follower.knows, follower.life, follower.has_resigned) = (knows, life, false);
                follower.heard = now.instant;
                let near = have.is_some_and(|have| journal.end() - have <= NEAR);
                follower.counts |= near && !journal.sealed;
                follower.knows_end = journal.sealed && sealed && have == Some(journal.end());
                moved = before != seen(follower);
            }
            Ok(Ok(Ack::Unwanted)) => {
                follower.counts = false;
                // Of one that has moved away it hears from where that is now.
                follower.knows_end = journal.sealed || self.registry.get(active.daemon).is_none();
            }
            Ok(Ok(Ack::Nothing)) => {
                follower.counts = false;
                follower.knows_end = journal.sealed;
                (follower.have, follower.has_resigned) = (None, true);
            }
            _ => {}
        }
        follower.is_stuck = !moved;
        follower.pause_until = (!moved).then_some(now.instant + PAUSE);
        self.sync(now, node, group);
    }
}

fn next_push(journal: &Journal, follower: &Follower, told: Option<&InSync>) -> Option<What> {
    let entries = follower.have.and_then(|have| Some((have, journal.after(have, PIECE)?)));
    let knows = told.is_none_or(|told| follower.knows >= told.version_of(journal.of));
    // One that takes no more events needs a newer state.
    let wants_state = follower.is_stuck && journal.base().is_some_and(|(at, _)| at > follower.base_at);
    if let Some((have, entries)) = entries
        && !wants_state
        && (!entries.is_empty() || (journal.sealed && !follower.knows_end) || !knows)
    {
        return Some(What::Entries { first: have + 1, entries });
    }
    let (at, bytes) = journal.base()?;
    let is_current = follower.have.is_some_and(|have| have >= at) && follower.base_at >= at;
    if is_current {
        return None;
    }
    let offset = usize::try_from(follower.offset).ok().filter(|offset| *offset < bytes.len()).unwrap_or(0);
    let piece = bytes[offset..].iter().take(PIECE).copied().collect();
    Some(What::Piece(Piece { at, len: bytes.len() as u64, offset: offset as u64, bytes: piece }))
}

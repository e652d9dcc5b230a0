//! What has to hold once the system is left in peace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshground_node::{DaemonId, GroupId, MeshOs, NodeId, OsEvent, Settlement};
use meshground_shared::{GroupHealth, GroupKind, GroupView, Lifecycle, Maintenance};
use meshground_tests::{
    daemons::Diary,
    trails::{Told, Trail},
};

use super::{Asked, MEMBERS, Upheaval, What};
use crate::LIMIT;

impl Upheaval {
    fn settlement(&self, asked: &Asked) -> Option<&Settlement> {
        self.net.members[asked.at].os.events[self.born[asked.at]..].iter().find_map(
            |(_, event)| match event {
                OsEvent::Settled { ticket, outcome } if *ticket == asked.ticket => Some(outcome),
                _ => None,
            },
        )
    }

    pub(super) fn all_is_well(&mut self) {
        let mut waited = Duration::ZERO;
        while let Some(wrong) = self.wrong() {
            assert!(waited < LIMIT, "a minute and a half later still: {wrong}");
            self.net.run_for(Duration::from_secs(1));
            waited += Duration::from_secs(1);
        }
        let open: Vec<&Asked> = self.asked.iter().filter(|it| self.settlement(it).is_none()).collect();
        assert!(open.is_empty(), "never settled: {open:?}");
        self.commands_are_decided_alike();
        self.commands_took_effect();
        self.groups_that_ended_are_gone();
        let steps = self.net.steps;
        self.net.run_for(Duration::from_secs(1));
        let steps = self.net.steps - steps;
        assert!(steps < 20_000, "{steps} things happened in a second in which nothing was to be done");
        self.diaries_are_in_order();
    }

    /// What is not as it should be yet.
    fn wrong(&self) -> Option<String> {
        let mut hosts: BTreeMap<DaemonId, Vec<(usize, Lifecycle)>> = BTreeMap::new();
        for number in 0..MEMBERS {
            for view in self.os(number).into_iter().flat_map(MeshOs::daemons) {
                hosts.entry(view.id).or_default().push((number, view.lifecycle));
            }
            let now = self.net.now_at(number).instant;
            let moving: Vec<_> = self.os(number)?.migrations(now).collect();
            if !moving.is_empty() {
                return Some(format!("on {number} there move {moving:?}"));
            }
        }
        if let Some(twice) = hosts.iter().find(|(_, at)| at.len() > 1) {
            return Some(format!("one runs twice: {twice:?}"));
        }
        let groups = |number: usize| -> BTreeMap<GroupId, GroupView> {
            self.os(number).into_iter().flat_map(MeshOs::groups).map(|view| (view.id, view)).collect()
        };
        let first = groups(0);
        for number in 1..MEMBERS {
            let here = groups(number);
            let placed = |view: &GroupView| -> (NodeId, u32, Vec<Option<NodeId>>) {
                (view.leader, view.desired, view.members.iter().map(|member| member.node).collect())
            };
            let alike = here.iter().map(|(id, view)| (*id, placed(view)));
            if !alike.eq(first.iter().map(|(id, view)| (*id, placed(view)))) {
                return Some(format!("they see groups differently: {first:?}, {number}: {here:?}"));
            }
        }
        for (id, view) in &first {
            let leader = (0..MEMBERS).find(|number| self.net.id(*number) == view.leader)?;
            if let Some(wrong) = self.wrong_with_group(&groups(leader)[id], &hosts) {
                return Some(format!("{wrong}: {:?}", groups(leader)[id]));
            }
        }
        let members: BTreeSet<DaemonId> =
            first.values().flat_map(|view| &view.members).map(|member| member.daemon).collect();
        let stray = hosts.keys().find(|id| !members.contains(*id) && !self.solos.contains(*id));
        if let Some(stray) = stray {
            return Some(format!("a member of no group runs: {stray} on {:?}", hosts[stray]));
        }
        if self.gentle {
            let lost = self.solos.difference(&self.stopped).find(|id| !hosts.contains_key(*id));
            if let Some(lost) = lost {
                return Some(format!("{lost} is lost though nothing crashed"));
            }
        }
        if let Some(wrong) = self.trails_apart() {
            return Some(wrong);
        }
        (0..MEMBERS).find_map(|number| {
            let snapshot = self.os(number)?.snapshot();
            let waits = matches!(
                snapshot.maintenance,
                Maintenance::EnteringMaintenance | Maintenance::ExitingMaintenance | Maintenance::Recovery
            );
            let waits = waits || snapshot.freeze_remaining.is_some() || snapshot.drain_remaining.is_some();
            waits.then(|| format!("{number} is in between: {:?}", snapshot.maintenance))
        })
    }

    fn wrong_with_group(
        &self,
        view: &GroupView,
        hosts: &BTreeMap<DaemonId, Vec<(usize, Lifecycle)>>,
    ) -> Option<String> {
        if view.health != GroupHealth::Healthy {
            let why = view.lacking.as_deref().unwrap_or_default();
            // Only whoever looks after it, and has looked everywhere, says that.
            let explained = why.contains("there is no other node for it");
            return (!explained).then(|| "not what it is to be, and nobody says why".to_owned());
        }
        let mut nodes = BTreeSet::new();
        for (index, member) in view.members.iter().enumerate() {
            match hosts.get(&member.daemon).map(Vec::as_slice) {
                None if view.kind == GroupKind::Standby && index > 0 => {
                    nodes.extend((0..MEMBERS).filter(|number| Some(self.net.id(*number)) == member.node));
                }
                Some(&[(number, Lifecycle::Running)]) if Some(self.net.id(number)) == member.node => {
                    nodes.insert(number);
                }
                other => return Some(format!("{member:?} really runs on {other:?}")),
            }
        }
        // After they were apart, nodes may have given a node two members, and nobody else may take one now.
        let explained =
            view.lacking.as_deref().is_some_and(|why| why.contains("there is no other node for it"));
        (nodes.len() != view.desired as usize && !explained).then(|| {
            let open = |number: &usize| {
                let snapshot = self.os(*number).expect("running").snapshot();
                (
                    *number,
                    self.net.id(*number),
                    snapshot.maintenance,
                    snapshot.cordoned,
                    snapshot.avoided.clone(),
                )
            };
            format!("two share a node: {:?}", (0..MEMBERS).map(|number| open(&number)).collect::<Vec<_>>())
        })
    }

    fn trails(&self) -> Vec<Trail> {
        (0..MEMBERS).map(|number| self.os(number).expect("running").audit().iter().collect()).collect()
    }

    /// Whose trail is not as the others' are yet. All are to be alike, those who started anew included.
    fn trails_apart(&self) -> Option<String> {
        let trails = self.trails();
        (1..MEMBERS).find(|number| trails[*number] != trails[0]).map(|number| {
            let (a, b) = (&trails[0], &trails[number]);
            let (first, other) = (a.beyond(b), b.beyond(a));
            format!("trails differ: {first:?} are in that of 0 and {other:?} in that of {number}")
        })
    }

    /// Nobody decided on a command twice or otherwise than others, and all know what was put to anybody.
    fn commands_are_decided_alike(&self) {
        let trails = self.trails();
        for (number, trail) in trails.iter().enumerate() {
            assert_eq!(trail.twice(), None, "{number} decided on a command twice: {trail:?}");
        }
        for (nonce, (at, _)) in &self.commands {
            let its: Vec<_> = trails.iter().map(|trail| trail.decision(nonce)).collect();
            assert!(its[0].is_some(), "command {nonce}, handed to {at}, was never decided");
            assert!(its.iter().all(|decision| *decision == its[0]), "command {nonce}: {its:?}");
        }
    }

    /// Each node serves or does not as the commands say that it wrote down as applied.
    fn commands_took_effect(&self) {
        for number in 0..MEMBERS {
            let (id, os) = (self.net.id(number), self.os(number).expect("running"));
            let told = Told::new(id, os.audit().iter());
            let seen = os.snapshot();
            let is_out = match seen.maintenance {
                Maintenance::Active => false,
                Maintenance::Maintenance | Maintenance::DrainFailed => true,
                between => panic!("{number} is in between: {between:?}"),
            };
            let story = format!("node {number} in its life {}, told {:?}", self.lives[number], told.verbs);
            assert_eq!(
                (seen.cordoned, is_out),
                (told.cordoned, told.out),
                "cordoned and out of service: {story}"
            );
        }
    }

    /// A group that was said to be stopped, or not to have come about, is not there.
    fn groups_that_ended_are_gone(&self) {
        for asked in &self.asked {
            if let (What::GroupEnd(group), Some(Settlement::Group(Ok(_)))) =
                (asked.what, self.settlement(asked))
            {
                for number in 0..MEMBERS {
                    let there = self.os(number).and_then(|os| os.group(group));
                    assert!(there.is_none(), "{group} was stopped, and {number} has it: {there:?}");
                }
            }
            if let (What::End(daemon), Some(Settlement::Stopped(meshground_shared::DaemonEnd::Stopped))) =
                (asked.what, self.settlement(asked))
            {
                for number in 0..MEMBERS {
                    let there = self.os(number).into_iter().flat_map(MeshOs::daemons);
                    assert!(there.into_iter().all(|view| view.id != daemon), "{daemon} was stopped");
                }
            }
        }
    }

    /// Nothing was written twice or out of order, and where no state can have been lost, nothing is missing that was
    /// acknowledged.
    fn diaries_are_in_order(&mut self) {
        for number in 0..MEMBERS {
            let its: Vec<DaemonId> = self.os(number).expect("running").daemons().map(|it| it.id).collect();
            for daemon in its {
                let Ok(ticket) = self.net.act_os(number, |os, node, now| os.state_of(now, node, daemon))
                else {
                    continue;
                };
                let asked = Asked { at: number, ticket, what: What::Else };
                self.net.run_for(Duration::from_millis(50));
                let Some(Settlement::State(Ok(state))) = self.settlement(&asked) else {
                    panic!("no state of {daemon} on {number}: {:?}", self.settlement(&asked));
                };
                let mut found: BTreeMap<(usize, u64), Vec<u64>> = BTreeMap::new();
                for entry in Diary::read(&state.bytes) {
                    let text = String::from_utf8(entry).expect("it was text");
                    let mut parts = text.split(' ').map(|part| part.parse::<u64>().expect("numbers"));
                    let mut part = || parts.next().expect("three of them");
                    let sender = (usize::try_from(part()).expect("small"), part());
                    found.entry(sender).or_default().push(part());
                }
                for (sender, numbers) in &found {
                    assert!(numbers.is_sorted_by(|a, b| a < b), "{daemon} got from {sender:?}: {numbers:?}");
                }
                if !self.gentle || !self.solos.contains(&daemon) {
                    continue;
                }
                for asked in &self.asked {
                    let What::Event { to, life, number } = asked.what else { continue };
                    if to == daemon && matches!(self.settlement(asked), Some(Settlement::Delivered(Ok(_)))) {
                        let its = found.get(&(asked.at, life));
                        let there = its.is_some_and(|numbers| numbers.binary_search(&number).is_ok());
                        assert!(there, "{daemon} lost {number} of {}, which it acknowledged", asked.at);
                    }
                }
            }
        }
    }
}

//! What befalls the system, at random.

use std::time::Duration;

use meshground_node::admin::{AdminCommand, IceProposal, Nonce, OperatorKey, SignedCommand, named_nodes};
use meshground_node::{DaemonId, EntityKeypair, GroupId, GroupRequest, MeshOs, Node, SpawnRequest, Ticket};
use meshground_shared::{AdminVerb, GroupKind, IceVerb, MigrationId};
use meshground_tests::sim::Faults;

use super::{Asked, Blow, FREEZE_MS, MEMBERS, Upheaval, What};
use crate::BAD;

impl Upheaval {
    fn random_daemon(&mut self, at: usize) -> Option<DaemonId> {
        let working = self.os(at)?.groups().flat_map(|mut group| {
            // The others only stand by.
            if group.kind == GroupKind::Standby {
                group.members.truncate(1);
            }
            group.members
        });
        let daemons: Vec<DaemonId> =
            working.map(|member| member.daemon).chain(self.solos.iter().copied()).collect();
        self.any_of(&daemons)
    }

    fn random_group(&mut self, at: usize) -> Option<GroupId> {
        let groups: Vec<GroupId> = self.os(at)?.groups().map(|group| group.id).collect();
        self.any_of(&groups)
    }

    pub(super) fn random_blow(&mut self) -> Option<Blow> {
        let running = self.running();
        let at = self.any_of(&running)?;
        let other = self.below(MEMBERS);
        let count = u32::try_from(1 + self.below(4)).expect("small");
        let what = if self.gentle { self.net.below(50) } else { self.net.below(70) };
        Some(match what {
            0..=3 => Blow::Spawn { at },
            4 => {
                let its: Vec<DaemonId> = self.os(at)?.daemons().map(|view| view.id).collect();
                let its: Vec<DaemonId> = its.into_iter().filter(|id| self.solos.contains(id)).collect();
                Blow::Stop { at, daemon: self.any_of(&its)? }
            }
            5..=7 if self.groups.len() < 4 => {
                let solos: Vec<DaemonId> = self.solos.iter().copied().collect();
                let (kind, parent) = match (self.net.below(3), self.any_of(&solos)) {
                    (0, Some(parent)) => (GroupKind::Fork, Some(parent)),
                    (1, _) => (GroupKind::Standby, None),
                    _ => (GroupKind::Replica, None),
                };
                Blow::Group { at, kind, count, parent }
            }
            8..=10 => Blow::Scale { at, group: self.random_group(at)?, count },
            11 => Blow::StopGroup { at, group: self.random_group(at)? },
            12..=25 => Blow::Send { from: at, to: self.random_daemon(at)?, count: 1 + self.net.below(20) },
            26..=35 => Blow::Migrate { at, daemon: self.random_daemon(at)?, to: other },
            36 if self.net.below(2) == 0 => Blow::Promote { at, group: self.random_group(at)? },
            36 => Blow::Cancel { at },
            37..=44 => Blow::Admin { at, verb: self.random_verb(at, other)? },
            45..=46 => Blow::Ice { at, verb: self.random_ice(at)? },
            47 | 65..=66 => Blow::Mend,
            48 => {
                let percent = f64::from(u32::try_from(self.net.below(25)).expect("small")) / 100.0;
                Blow::Weather(Faults { loss: percent, duplication: percent / 2.0, ..BAD })
            }
            5..=7 | 49 | 68.. => Blow::CutOff { from: at, to: other },
            50..=53 => Blow::Crash(at),
            54..=60 => Blow::Restart(other),
            61..=63 => {
                let some = (0..MEMBERS).filter(|_| self.net.below(2) == 0).collect();
                Blow::Divide(some)
            }
            64 => Blow::StandStill(at, Duration::from_millis(self.net.below(3_000))),
            67 => Blow::Upset { from: at, daemon: self.random_daemon(at)? },
        })
    }

    fn random_verb(&mut self, at: usize, other: usize) -> Option<AdminVerb> {
        let node = self.net.id(other);
        let kinds = if self.gentle { 10 } else { 11 };
        Some(match self.net.below(kinds) {
            0 => AdminVerb::Drain { node },
            1 => AdminVerb::EnterMaintenance { node },
            2 | 3 => AdminVerb::ExitMaintenance { node },
            4 => AdminVerb::Cordon { node },
            5 | 6 => AdminVerb::Uncordon { node },
            7 => AdminVerb::DropReplicas { node },
            8 => AdminVerb::InvalidatePlacement { group: self.random_group(at)? },
            9 => AdminVerb::ClearAvoidList { node },
            _ => AdminVerb::RestartAllDaemons { node },
        })
    }

    fn random_ice(&mut self, at: usize) -> Option<IceVerb> {
        let now = self.net.now_at(at).instant;
        let moving: Vec<MigrationId> =
            self.os(at).into_iter().flat_map(|os| os.migrations(now)).map(|view| view.id).collect();
        if !self.gentle
            && let Some(migration) = self.any_of(&moving)
        {
            return Some(match self.net.below(2) {
                0 => IceVerb::ForceCutover { migration },
                _ => IceVerb::KillMigration { migration },
            });
        }
        Some(match self.net.below(if self.gentle { 5 } else { 6 }) {
            5 => IceVerb::ForceRestartDaemon { daemon: self.random_daemon(at)? },
            0 => IceVerb::FreezeCluster { ttl_ms: 1 + self.net.below(FREEZE_MS) },
            1 => IceVerb::ThawCluster,
            2 => IceVerb::FlushAvoidLists,
            _ => {
                let group = self.random_group(at)?;
                IceVerb::ForceEvictReplica { group, index: u32::try_from(self.below(3)).expect("small") }
            }
        })
    }

    fn ask(&mut self, at: usize, what: What, ticket: Ticket) {
        self.asked.push(Asked { at, ticket, what });
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each blow")]
    pub(super) fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Spawn { at } => {
                self.count += 1;
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&self.count.to_le_bytes());
                let keypair = EntityKeypair::from_seed(seed);
                let id = keypair.origin_hash();
                let (kind, args) = ("diary".to_owned(), String::new());
                let request = SpawnRequest { keypair, kind, args, state: None, cause: None };
                if let Ok(ticket) = self.net.act_os(at, |os, node, now| os.spawn(now, node, request)) {
                    self.solos.insert(id);
                    self.ask(at, What::Start(id), ticket);
                }
            }
            Blow::Stop { at, daemon } => {
                self.stopped.insert(daemon);
                if let Some(ticket) =
                    self.net.act_os(at, |os, node, now| os.stop(now, node, daemon, None, None))
                {
                    self.ask(at, What::End(daemon), ticket);
                }
            }
            Blow::Group { at, kind, count, parent } => {
                self.count += 1;
                let mut seed = [1; 32];
                seed[..8].copy_from_slice(&self.count.to_le_bytes());
                let request = GroupRequest {
                    kind,
                    daemon: "diary".to_owned(),
                    args: String::new(),
                    count,
                    name: format!("group {}", self.count),
                    seed,
                    parent,
                    cause: None,
                };
                if let Ok(ticket) = self.net.act_os(at, |os, node, now| os.spawn_group(now, node, request)) {
                    let ids: Vec<GroupId> =
                        self.os(at).into_iter().flat_map(MeshOs::groups).map(|group| group.id).collect();
                    self.groups.extend(ids);
                    self.ask(at, What::Group, ticket);
                }
            }
            Blow::Scale { at, group, count } => {
                if let Ok(ticket) =
                    self.net.act_os(at, |os, node, now| os.scale_group(now, node, group, count, None))
                {
                    self.ask(at, What::Else, ticket);
                }
            }
            Blow::StopGroup { at, group } => {
                if let Ok(ticket) = self.net.act_os(at, |os, node, now| os.stop_group(now, node, group, None))
                {
                    self.ask(at, What::GroupEnd(group), ticket);
                }
            }
            Blow::Send { from, to, count } => {
                for _ in 0..count {
                    self.count += 1;
                    self.send(from, to, self.count);
                }
            }
            Blow::Upset { from, daemon } => {
                let upset = |os: &mut MeshOs, node: &mut Node, now| {
                    os.deliver(now, node, daemon, b"crash".to_vec(), None)
                };
                if let Ok(ticket) = self.net.act_os(from, upset) {
                    self.ask(from, What::Else, ticket);
                }
            }
            Blow::Migrate { at, daemon, to } => {
                let to = self.net.id(to);
                if let Ok(ticket) =
                    self.net.act_os(at, |os, node, now| os.migrate(now, node, daemon, to, None))
                {
                    self.ask(at, What::Else, ticket);
                }
            }
            Blow::Promote { at, group } => {
                if let Ok(ticket) =
                    self.net.act_os(at, |os, node, now| os.promote(now, node, group, None, None))
                {
                    self.ask(at, What::Else, ticket);
                }
            }
            Blow::Cancel { at } => {
                let now = self.net.now_at(at).instant;
                let ids: Vec<MigrationId> =
                    self.os(at).into_iter().flat_map(|os| os.migrations(now)).map(|view| view.id).collect();
                if let Some(id) = self.any_of(&ids) {
                    _ = self.net.act_os(at, |os, node, now| os.cancel_migration(now, node, id, None));
                }
            }
            Blow::Admin { at, verb } => {
                let nonce = self.nonce();
                let command = AdminCommand::new(verb, self.net.now_at(at).wall, nonce).sign(&demo(1));
                self.submit(at, nonce, &command);
            }
            Blow::Ice { at, verb } => {
                let (nonce, wall) = (self.nonce(), self.net.now_at(at).wall);
                let picture = self.net.act_os(at, |os, node, _| os.picture(node));
                if let Some(simulated) = IceProposal::new(verb).simulate(&picture) {
                    self.submit(at, nonce, &simulated.sign(wall, nonce, &demo(1)).cosign(&demo(2)));
                }
            }
            Blow::Crash(number) => {
                self.net.crash(number);
                self.lives[number] += 1;
                self.born[number] = self.net.members[number].os.events.len();
                self.asked.retain(|asked| asked.at != number);
                self.commands.retain(|_, (at, _)| *at != number);
            }
            Blow::Restart(number) if !self.is_running(number) => {
                self.net.restart_in_place(number);
                for other in self.running() {
                    if other != number {
                        self.net.dial(number, other);
                    }
                }
            }
            Blow::Restart(_) => {}
            Blow::StandStill(number, time) => {
                self.net.freeze(number);
                self.net.run_for(time);
                self.net.thaw(number);
            }
            Blow::CutOff { from, to } => self.cut(from, to),
            Blow::Divide(some) => {
                for a in 0..MEMBERS {
                    for b in 0..MEMBERS {
                        if some.contains(&a) != some.contains(&b) {
                            self.cut(a, b);
                        }
                    }
                }
            }
            Blow::Mend => self.net.cuts.clear(),
            Blow::Weather(faults) => self.net.faults = Faults { corruption: 0.0, ..faults },
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        let cut = (self.net.members[from].address, self.net.members[to].address);
        self.net.cuts.push(cut);
    }

    fn send(&mut self, from: usize, to: DaemonId, number: u64) {
        let life = self.lives[from];
        let payload = format!("{from} {life} {number}").into_bytes();
        let ticket = self.net.act_os(from, |os, node, now| os.deliver(now, node, to, payload, None));
        if let Ok(ticket) = ticket {
            self.ask(from, What::Event { to, life, number }, ticket);
        }
    }

    fn nonce(&mut self) -> Nonce {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.net.below(u64::MAX).to_le_bytes());
        Nonce(bytes)
    }

    fn submit(&mut self, at: usize, nonce: Nonce, command: &SignedCommand) {
        let named = self.net.act_os(at, |os, node, _| named_nodes(command.verb(), &os.picture(node)));
        let ticket = self.net.act_os(at, |os, node, now| os.submit(now, node, command));
        if self.lives[at] == 0 {
            self.commands.insert(nonce.to_string(), (at, named));
        }
        self.ask(at, What::Else, ticket);
    }
}

fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).expect("there are some")
}

//! Figures and events in words.

pub(crate) mod admin;
pub(crate) mod eyes;
pub(crate) mod workload;

use meshground_shared::{
    CallOutcome, Event, EventKind, Health, LinkFault, RejectReason, Role, SessionEnd, StopReason, Topology,
    Traffic,
};

use crate::names::Names;

/// A kind of event, for the log's filter and its markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something came up or came back.
    Good,
    /// Something to look at.
    Warn,
    /// Something is gone that should not be.
    Bad,
    /// Something happened.
    Plain,
    /// One of many sessions came up.
    Quiet,
}

impl Tone {
    /// The word styles know it by.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Plain => "plain",
            Self::Quiet => "quiet",
        }
    }
}

/// How an event is marked in the log.
pub(crate) fn tone(kind: &EventKind) -> Tone {
    match kind {
        EventKind::ClusterConverged { .. }
        | EventKind::NodeStarted { .. }
        | EventKind::NodeResumed
        | EventKind::OneWay { deaf: false, .. }
        | EventKind::FaultChanged { fault: None, .. }
        | EventKind::FreezeChanged { remaining_ms: None }
        | EventKind::CallFinished { outcome: CallOutcome::Ok, .. } => Tone::Good,
        EventKind::ClusterFailed { .. } | EventKind::CallFinished { outcome: CallOutcome::Error(_), .. } => {
            Tone::Bad
        }
        EventKind::NodeStopped { reason } => match reason {
            StopReason::Crash => Tone::Bad,
            StopReason::Shutdown | StopReason::Replaced => Tone::Plain,
        },
        EventKind::SessionUp { .. } => Tone::Quiet,
        EventKind::SessionDown { reason, .. } => match reason {
            SessionEnd::Forgotten => Tone::Bad,
            SessionEnd::Left | SessionEnd::Closed => Tone::Quiet,
        },
        EventKind::PeerHealth { to, .. } => match to {
            Health::Healthy => Tone::Good,
            Health::Suspect => Tone::Warn,
            Health::Unreachable => Tone::Bad,
        },
        EventKind::NodePaused
        | EventKind::OneWay { deaf: true, .. }
        | EventKind::FaultChanged { fault: Some(_), .. }
        | EventKind::FreezeChanged { remaining_ms: Some(_) }
        | EventKind::AvoidChanged { .. }
        | EventKind::DecisionsLost { .. }
        | EventKind::DatagramRejected { .. } => Tone::Warn,
        EventKind::ClusterBooting { .. }
        | EventKind::NodeLeaving { .. }
        | EventKind::TopologyChanged { .. }
        | EventKind::ClusterStopping
        | EventKind::ClusterStopped
        | EventKind::GroupGone { .. } => Tone::Plain,
        EventKind::DaemonChanged { daemon } => workload::daemon_tone(daemon.lifecycle, daemon.health),
        EventKind::DaemonGone { reason, .. } => workload::end_tone(*reason),
        EventKind::DaemonLog { level, .. } => workload::log_tone(*level),
        EventKind::GroupChanged { group } => workload::group_tone(group.health),
        EventKind::MigrationChanged { migration } => workload::phase_tone(migration.phase),
        EventKind::MaintenanceChanged { state, cordoned } => workload::maintenance_tone(*state, *cordoned),
        EventKind::AdminDecided { entry } => admin::decision_tone(entry.decision),
    }
}

/// What happened, as a sentence without its full stop.
pub(crate) fn sentence(event: &Event, names: &Names) -> String {
    let who = event.node.map_or_else(|| "The cluster".to_owned(), |id| capital(&names.name(id)));
    match &event.kind {
        EventKind::ClusterBooting { nodes, topology: Topology::Full } => {
            format!("Booting {}", count(*nodes, "node"))
        }
        EventKind::ClusterBooting { nodes, topology } => {
            format!("Booting {} as a {}", count(*nodes, "node"), shape(*topology))
        }
        EventKind::TopologyChanged { topology } => format!("Linking the nodes as a {}", shape(*topology)),
        EventKind::ClusterConverged { nodes: 1, took_us } => {
            format!("Converged in {}: 1 node, on its own", duration(*took_us))
        }
        EventKind::ClusterConverged { nodes, took_us } => {
            format!("Converged in {}: {nodes} nodes, every link Healthy", duration(*took_us))
        }
        EventKind::ClusterFailed { reason } => format!("Did not converge: {reason}"),
        EventKind::ClusterStopping => "The cluster is shutting down".to_owned(),
        EventKind::ClusterStopped => "The cluster has shut down".to_owned(),
        EventKind::NodeStarted { address, .. } => format!("{who} is up on {address}"),
        EventKind::NodeLeaving { reason: StopReason::Replaced } => {
            format!("{who} stops its daemons, to make way for another identity")
        }
        EventKind::NodeLeaving { .. } => format!("{who} stops its daemons, to leave"),
        EventKind::NodeStopped { reason: StopReason::Shutdown } => format!("{who} said goodbye and left"),
        EventKind::NodeStopped { reason: StopReason::Crash } => format!("{who} crashed without a word"),
        EventKind::NodeStopped { reason: StopReason::Replaced } => {
            format!("{who} made way for another identity")
        }
        EventKind::NodePaused => format!("{who} was paused"),
        EventKind::NodeResumed => format!("{who} goes on"),
        EventKind::FaultChanged { peer, fault: None } => {
            format!("The link from {} to {} is sound", lower(&who), names.name(*peer))
        }
        EventKind::FaultChanged { peer, fault: Some(fault) } => {
            format!("The link from {} to {} {}", lower(&who), names.name(*peer), fault_words(fault))
        }
        EventKind::SessionUp { peer, role: Role::Initiator, .. } => {
            format!("{who} connected to {}", names.name(*peer))
        }
        EventKind::SessionUp { peer, role: Role::Responder, .. } => {
            format!("{who} accepted {}", names.name(*peer))
        }
        EventKind::SessionDown { peer, reason: SessionEnd::Left } => {
            format!("{who} ended its session with {}, which left", names.name(*peer))
        }
        EventKind::SessionDown { peer, reason: SessionEnd::Forgotten } => {
            format!("{who} forgot {} after too long a silence", names.name(*peer))
        }
        EventKind::SessionDown { peer, reason: SessionEnd::Closed } => {
            format!("{who} has no session with {} any more: it was closed", names.name(*peer))
        }
        EventKind::PeerHealth { peer, to: Health::Healthy, .. } => {
            format!("{who} hears {} again: Healthy", names.name(*peer))
        }
        EventKind::PeerHealth { peer, to, silence_us, .. } => {
            format!("{who} finds {} {}, silent for {}", names.name(*peer), health(*to), duration(*silence_us))
        }
        EventKind::OneWay { peer, deaf: true } => {
            format!("{who} hears {} but is not heard by it: the link works one way only", names.name(*peer))
        }
        EventKind::OneWay { peer, deaf: false } => format!("{who} is heard by {} again", names.name(*peer)),
        EventKind::DatagramRejected { address, reason, count: many } => {
            let many = u32::try_from(*many).unwrap_or(u32::MAX);
            format!("{who} rejected {} from {address}: {}", count(many, "datagram"), rejection(*reason))
        }
        EventKind::DaemonChanged { daemon } => workload::daemon_changed(daemon, &lower(&who), names),
        EventKind::DaemonGone { daemon, reason } => {
            workload::daemon_gone(&names.daemon(*daemon), &lower(&who), *reason)
        }
        EventKind::DaemonLog { daemon, text, .. } => {
            format!("{} on {}: {text}", capital(&names.daemon(*daemon)), lower(&who))
        }
        EventKind::GroupChanged { group } => workload::group_changed(group, names),
        EventKind::GroupGone { group } => format!("{} is no more", capital(&names.group(*group))),
        EventKind::MigrationChanged { migration } => workload::migration_changed(migration, names),
        EventKind::MaintenanceChanged { state, cordoned } => {
            workload::maintenance_changed(&who, *state, *cordoned)
        }
        EventKind::FreezeChanged { remaining_ms: None } => format!("{who} is no longer frozen"),
        EventKind::FreezeChanged { remaining_ms: Some(ms) } => {
            format!("{who} is frozen for at most {}", lasting(*ms))
        }
        EventKind::AvoidChanged { avoided } => admin::avoids(&who, avoided, names),
        EventKind::DecisionsLost { dropped } => {
            let lost = count(u32::try_from(*dropped).unwrap_or(u32::MAX), "decision");
            format!("{who} only writes down what it decides, and has lost {lost} so far")
        }
        EventKind::AdminDecided { entry } => admin::decided(&who, entry, names),
        EventKind::CallFinished { peer, method, outcome, took_us, request_bytes, response_bytes } => {
            let sizes = (*request_bytes, *response_bytes);
            workload::call_finished(&who, &names.name(*peer), method, outcome, *took_us, sizes)
        }
    }
}

/// What a topology is called.
pub(crate) fn shape(topology: Topology) -> String {
    match topology {
        Topology::Full => "full mesh".to_owned(),
        Topology::Ring => "ring".to_owned(),
        Topology::Star => "star".to_owned(),
        Topology::Line => "line".to_owned(),
        Topology::Tree { arity } => format!("tree with {arity} children each"),
        Topology::RandomRegular { degree, .. } => format!("random graph with {degree} links each"),
    }
}

/// What is wrong with a link.
fn fault_words(fault: &LinkFault) -> String {
    if fault.cut {
        return "is cut".to_owned();
    }
    let mut said = Vec::new();
    for (probability, what) in
        [(fault.loss, "loses"), (fault.duplication, "doubles"), (fault.corruption, "corrupts")]
    {
        if probability > 0.0 {
            said.push(format!("{what} {:.0} %", probability * 100.0));
        }
    }
    match (fault.delay_us, fault.jitter_us) {
        (0, 0) => {}
        (late, 0) => said.push(format!("takes {} longer", duration(late))),
        (late, jitter) => {
            said.push(format!("takes {} to {} longer", duration(late), duration(late + jitter)));
        }
    }
    said.join(", ")
}

/// A verdict, as people write it.
pub(crate) fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "Healthy",
        Health::Suspect => "Suspect",
        Health::Unreachable => "Unreachable",
    }
}

/// A verdict, as styles and tests know it.
pub(crate) fn health_slug(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Suspect => "suspect",
        Health::Unreachable => "unreachable",
    }
}

/// A part in a handshake.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Initiator => "Initiator",
        Role::Responder => "Responder",
    }
}

fn rejection(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Malformed => "malformed",
        RejectReason::PskMismatch => "another pre-shared key, or none",
        RejectReason::StaleInitiation => "a handshake with a stale time",
        RejectReason::ReplayedInitiation => "a replayed handshake",
        RejectReason::RateLimited => "too many worthless handshakes from there",
        RejectReason::Overloaded => "too many handshakes under way",
        RejectReason::UnknownIndex => "no such session here",
        RejectReason::HandshakeFailed => "a handshake that does not authenticate",
        RejectReason::BadIdentity => "a false identity",
        RejectReason::AuthFailed => "altered or made up",
        RejectReason::Replayed => "replayed",
        RejectReason::BadFrame => "unreadable frames",
        RejectReason::NoRoute => "relayed datagrams without a way on",
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(many: u32, noun: &str) -> String {
    if many == 1 { format!("1 {noun}") } else { format!("{many} {noun}s") }
}

/// A measured time at a precision a person can use: `84 µs`, `1.25 ms`, `812 ms`, `1.50 s`.
#[allow(clippy::cast_precision_loss)] // shown with three digits
pub(crate) fn duration(us: u64) -> String {
    let value = us as f64;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..9_995 => format!("{:.2} ms", value / 1e3),
        9_995..99_950 => format!("{:.1} ms", value / 1e3),
        99_950..999_500 => format!("{:.0} ms", value / 1e3),
        _ => format!("{:.2} s", value / 1e6),
    }
}

/// An amount of data: `84 B`, `1.2 kB`, `812 kB`, `1.5 MB`.
#[allow(clippy::cast_precision_loss)] // shown with three digits
pub(crate) fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..99_950 => format!("{:.1} kB", value / 1e3),
        99_950..999_500 => format!("{:.0} kB", value / 1e3),
        999_500..99_950_000 => format!("{:.1} MB", value / 1e6),
        99_950_000..999_500_000 => format!("{:.0} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// What went over a session, in a table's cell: out, then in.
pub(crate) fn traffic(traffic: &Traffic) -> String {
    format!("{} / {}", bytes(traffic.bytes_out), bytes(traffic.bytes_in))
}

/// The same at length.
pub(crate) fn traffic_at_length(traffic: &Traffic) -> String {
    let Traffic { datagrams_out, datagrams_in, messages_out, messages_in, .. } = traffic;
    format!(
        "Datagrams: {datagrams_out} out, {datagrams_in} in, {} lost. Messages: {messages_out} out, {messages_in} in, {} lost.",
        traffic.datagrams_lost, traffic.messages_lost
    )
}

/// How long something has lasted: `8 s`, `3 min 20 s`, `2 h 05 min`, `4 d 1 h`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // non-negative, whole seconds
pub(crate) fn age(us: f64) -> String {
    let seconds = (us.max(0.0) / 1e6) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How long something lasts, from its milliseconds.
#[allow(clippy::cast_precision_loss)] // shown in seconds
pub(crate) fn lasting(ms: u64) -> String {
    age(ms as f64 * 1e3)
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A text as the beginning of a sentence.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use meshground_shared::{NodeId, PublicKey};

    use super::*;

    #[test]
    fn durations_keep_about_three_digits() {
        let shown: Vec<String> =
            [7, 999, 1_250, 9_994, 43_210, 812_345, 999_499, 1_500_000].map(duration).into();
        assert_eq!(shown, ["7 µs", "999 µs", "1.25 ms", "9.99 ms", "43.2 ms", "812 ms", "999 ms", "1.50 s"]);
    }

    #[test]
    fn traffic_is_told_in_bytes_and_at_length_in_pieces() {
        let shown: Vec<String> =
            [0, 999, 1_234, 99_949, 99_950, 999_499, 1_500_000, 250_000_000, 3_140_000_000].map(bytes).into();
        let expected =
            ["0 B", "999 B", "1.2 kB", "99.9 kB", "100 kB", "999 kB", "1.5 MB", "250 MB", "3.14 GB"];
        assert_eq!(shown, expected);
        let total = Traffic {
            datagrams_out: 1,
            bytes_out: 2_000,
            datagrams_in: 3,
            bytes_in: 40,
            messages_out: 5,
            messages_in: 6,
            datagrams_lost: 7,
            messages_lost: 8,
        };
        assert_eq!(traffic(&total), "2.0 kB / 40 B");
        assert_eq!(
            traffic_at_length(&total),
            "Datagrams: 1 out, 3 in, 7 lost. Messages: 5 out, 6 in, 8 lost."
        );
    }

    #[test]
    fn ages_get_coarser_as_they_grow() {
        let shown: Vec<String> = [8.9e6, 200e6, 7_500e6, 350_000e6].map(age).into();
        assert_eq!(shown, ["8 s", "3 min 20 s", "2 h 05 min", "4 d 1 h"]);
    }

    #[test]
    fn a_sentence_names_nodes_by_their_place() {
        let mut names = Names::default();
        for (id, index) in [(1, 0), (2, 3)] {
            names.learn(&event(
                id,
                EventKind::NodeStarted {
                    index,
                    address: "127.0.0.1:1".parse().unwrap(),
                    public_key: PublicKey([0; 32]),
                },
            ));
        }
        let kind = EventKind::PeerHealth {
            peer: NodeId(2),
            from: Health::Healthy,
            to: Health::Suspect,
            silence_us: 712_000,
        };
        assert_eq!(sentence(&event(1, kind), &names), "Node 0 finds node 3 Suspect, silent for 712 ms");
        let one_way = |deaf| sentence(&event(1, EventKind::OneWay { peer: NodeId(2), deaf }), &names);
        assert_eq!(one_way(true), "Node 0 hears node 3 but is not heard by it: the link works one way only");
        assert_eq!(one_way(false), "Node 0 is heard by node 3 again");
    }

    fn event(node: u64, kind: EventKind) -> Event {
        Event { seq: 1, at_us: 1, wall_us: 1, node: Some(NodeId(node)), cause: None, kind }
    }
}

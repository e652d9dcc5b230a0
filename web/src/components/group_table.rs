//! The groups, one row each, and what can be done with them.

use meshground_shared::{
    DaemonId, DaemonView, GroupKind, GroupMember, GroupView, Snapshot,
    rpc::{GroupSpawnParams, ScaleParams},
};
use yew::prelude::*;

use super::{
    daemon_table::FIRST_KIND,
    desk::{Desk, DeskProps, RowButton, choice, chosen, mark, no_rows, on_submit, typed, whole},
};
use crate::{
    text::{capital, workload},
    work::Work,
    workloads,
};

const COLUMNS: usize = 7;
/// Members of a group that the form asks for, at most; the server knows its own limit.
const MAX_COUNT: u32 = 1_000;
/// The kinds of group to choose from.
const KINDS: [GroupKind; 3] = [GroupKind::Replica, GroupKind::Standby, GroupKind::Fork];

/// The groups of the cluster.
#[component]
pub(crate) fn GroupTable(props: &DeskProps) -> Html {
    if !props.open {
        return Html::default();
    }
    let desk = &props.desk;
    let groups = desk.snapshot.as_ref().map(|snapshot| workloads::groups(snapshot)).unwrap_or_default();
    let row = |group: &&GroupView| {
        let id = group.id;
        let name = desk.names.group(id);
        let scaling = desk.is_pending(|work| matches!(work, Work::ScaleGroup(params) if params.group == id));
        let scale = |count: u32, test, label, way| RowButton {
            work: Work::ScaleGroup(ScaleParams { group: id, count }),
            test,
            label,
            name: format!("{way} member for {name}"),
        };
        let promote = RowButton {
            work: Work::Promote(id),
            test: "group-promote",
            label: "Promote",
            name: format!("Have a standby of {name} take over"),
        };
        let stop = RowButton {
            work: Work::StopGroup(id),
            test: "group-stop",
            label: "Stop",
            name: format!("Stop {name}"),
        };
        html! {
            <tr key={id.to_string()} data-testid="group-row" data-group={id.to_string()}>
                <th scope="row" title={id.to_string()}>{ &group.name }</th>
                <td class="medium kind">
                    { workload::group_kind(group.kind) }
                    <span class="aside wide">{ &group.daemon }</span>
                </td>
                <td class="number scale-cell">
                    <span class="scale">
                        { desk.button(scale(group.desired.saturating_sub(1), "group-down", "−", "One fewer"), !scaling && group.desired > 1) }
                        <span data-testid="group-desired">{ group.desired }</span>
                        { desk.button(scale(group.desired.saturating_add(1), "group-up", "+", "One more"), !scaling) }
                    </span>
                </td>
                <td class="health">{ mark(workload::group_tone(group.health), workload::group_health(group.health)) }</td>
                <td class="members">
                    { members(desk, group) }
                    if let Some(lacking) = &group.lacking { <p class="lacking">{ desk.names.in_words(lacking) }</p> }
                </td>
                <td class="wide">{ desk.node(group.leader) }</td>
                <td class="row-actions">
                    if group.kind == GroupKind::Standby { { desk.button(promote, true) } }
                    { desk.button(stop, true) }
                </td>
            </tr>
        }
    };
    html! {
        <>
            <SpawnForm desk={desk.clone()} />
            <table class="cards groups" data-testid="group-table">
                <caption class="sr-only">{ "Groups of daemons" }</caption>
                <thead>
                    <tr>
                        <th scope="col">{ "Group" }</th>
                        <th scope="col" class="medium">{ "Kind" }</th>
                        <th scope="col" class="number"><abbr title="How many members it is to have">{ "Members" }</abbr></th>
                        <th scope="col">{ "Health" }</th>
                        <th scope="col">{ "Who and where" }</th>
                        <th scope="col" class="wide"><abbr title="The node that looks after it">{ "Leader" }</abbr></th>
                        <th scope="col"><span class="sr-only">{ "Actions" }</span></th>
                    </tr>
                </thead>
                <tbody>
                    if groups.is_empty() { { no_rows(COLUMNS, "No groups.") } }
                    { for groups.iter().map(row) }
                </tbody>
            </table>
        </>
    }
}

fn members(desk: &Desk, group: &GroupView) -> Html {
    let Some(snapshot) = desk.snapshot.as_deref() else { return Html::default() };
    html! {
        <ol class="member-list" aria-label="Members">
            { for group.members.iter().enumerate().map(|(place, member)| one_member(desk, snapshot, group, place, member)) }
        </ol>
    }
}

fn one_member(
    desk: &Desk,
    snapshot: &Snapshot,
    group: &GroupView,
    place: usize,
    member: &GroupMember,
) -> Html {
    let state = workloads::member_state(snapshot, group, member);
    let bad = matches!(state, "not placed" | "not running");
    let synced = member.synced.filter(|_| group.kind == GroupKind::Standby);
    html! {
        <li
            class={classes!("member", bad.then_some("bad"))} data-testid="group-member" data-state={state}
            data-node={member.node.map(|node| node.to_string())} title={member.daemon.to_string()}
        >
            <span class="member-place">{ place }</span>
            if let Some(node) = member.node { { capital(&desk.names.name(node)) } }
            // Of a replica that runs there is nothing more to say.
            if state != "running" || member.node.is_none() { <span class="aside">{ state }</span> }
            if let Some(synced) = synced { <span class="aside">{ format!("{synced} synced") }</span> }
        </li>
    }
}

#[derive(Properties, PartialEq)]
struct FormProps {
    desk: Desk,
}

#[component]
fn SpawnForm(props: &FormProps) -> Html {
    let desk = &props.desk;
    let (kind, parent) = (use_state(String::new), use_state(String::new));
    let daemon = use_state(|| FIRST_KIND.to_owned());
    let (count, name, args) = (use_state(|| "3".to_owned()), use_state(String::new), use_state(String::new));
    let group_kinds = KINDS.map(|kind| {
        let word = workload::group_kind(kind);
        (word.to_lowercase(), word.to_owned())
    });
    let kinds = desk.kinds();
    let chosen_kind = KINDS
        .into_iter()
        .find(|known| workload::group_kind(*known).to_lowercase() == chosen(&kind, &group_kinds))
        .unwrap_or(GroupKind::Replica);
    let forked = chosen_kind == GroupKind::Fork;
    // Whoever goes on from a state must be made by the factory whose state it is.
    let begotten = |daemon: &DaemonView| kinds.iter().any(|(kind, _)| Some(kind) == daemon.kind.as_ref());
    let parents: Vec<(String, String)> = (desk.snapshot.iter())
        .flat_map(|snapshot| workloads::daemons(snapshot))
        .filter(|(_, daemon)| begotten(daemon))
        .map(|(_, daemon)| (daemon.id.to_string(), desk.names.daemon(daemon.id)))
        .collect();
    let begun_from = chosen(&parent, &parents).parse::<DaemonId>().ok().filter(|_| forked);
    let made_by = begun_from
        .and_then(|parent| desk.snapshot.as_ref()?.nodes.values().find_map(|node| node.daemons.get(&parent)))
        .and_then(|parent| parent.kind.clone())
        .unwrap_or_else(|| chosen(&daemon, &kinds).to_owned());
    let params = whole(&count, (1, MAX_COUNT))
        .filter(|_| !kinds.is_empty() && (!forked || begun_from.is_some()))
        .map(|count| GroupSpawnParams {
            kind: chosen_kind,
            daemon: made_by.clone(),
            count,
            name: Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
            anchor: None,
            parent: begun_from,
            args: (*args).clone(),
        });
    let ready = params.is_some();
    let onsubmit = {
        let desk = desk.clone();
        on_submit(move || {
            if let Some(params) = &params {
                desk.give(Work::SpawnGroup(params.clone()));
            }
        })
    };
    let pending = desk.is_pending(|work| matches!(work, Work::SpawnGroup(_)));
    html! {
        <form class="work-form" aria-label="Spawn a group" novalidate=true {onsubmit}>
            { choice("Group", "group-kind", &kind, &group_kinds) }
            if forked {
                { choice("From", "group-parent", &parent, &parents) }
            } else {
                { choice("Of", "group-daemon", &daemon, &kinds) }
            }
            { typed("Members", "group-count", &count, "", Some((1, MAX_COUNT))) }
            { typed("Name", "group-name", &name, "by itself", None) }
            { typed("Arguments", "group-args", &args, "none", None) }
            { desk.submit("group-spawn", "Spawn group", pending, ready) }
        </form>
    }
}

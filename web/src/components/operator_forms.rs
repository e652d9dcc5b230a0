//! The forms by which the playground's operators sign commands.

use meshground_shared::Hex;
use yew::prelude::*;

use super::desk::{Desk, choice, chosen, on_submit, typed, whole};
use crate::{
    text::{admin, workload},
    work::{ADMIN_VERBS, Aim, Choice, ICE_VERBS, OPERATORS, Target, Work, admin_verb, ice_verb},
    workloads,
};

/// What the forms are given.
#[derive(Properties, PartialEq)]
pub(crate) struct FormProps {
    /// What every table of workloads is given.
    pub(crate) desk: Desk,
}

/// Seconds that a freeze may last.
const TTL_S: (u32, u32) = (1, 3_600);

/// What is chosen where no verb is: a command that somebody has signed already.
const SIGNED_ELSEWHERE: &str = "signed";

/// One operator's signature.
#[component]
pub(crate) fn AdminForm(props: &FormProps) -> Html {
    let desk = &props.desk;
    let (verb, node, group) = (use_state(String::new), use_state(String::new), use_state(String::new));
    let (operator, envelope) = (use_state(String::new), use_state(String::new));
    let mut verbs = options(&ADMIN_VERBS);
    verbs.push((SIGNED_ELSEWHERE.to_owned(), "Signed elsewhere".to_owned()));
    let is_signed = chosen(&verb, &verbs) == SIGNED_ELSEWHERE;
    let target = target_of(chosen(&verb, &verbs), &ADMIN_VERBS);
    let operators = OPERATORS.map(|name| (name.to_owned(), name.to_owned()));
    let (nodes, groups) = (members(desk), groups(desk));
    let aim = Aim {
        node: chosen(&node, &nodes).parse().ok(),
        group: chosen(&group, &groups).parse().ok(),
        ..Aim::default()
    };
    let signs = OPERATORS.into_iter().find(|name| *name == chosen(&operator, &operators));
    let work = if is_signed {
        signed(&envelope).map(Work::Submit)
    } else {
        admin_verb(chosen(&verb, &verbs), aim).zip(signs).map(|(verb, signs)| Work::Admin(verb, signs))
    };
    let ready = work.is_some();
    let onsubmit = {
        let desk = desk.clone();
        on_submit(move || {
            if let Some(work) = &work {
                desk.give(work.clone());
            }
        })
    };
    let pending = desk.is_pending(|work| matches!(work, Work::Admin(..) | Work::Submit(_)));
    html! {
        <form class="work-form" aria-label="Sign an admin command" {onsubmit}>
            { choice("Admin", "admin-verb", &verb, &verbs) }
            if is_signed {
                { typed("Envelope", "admin-envelope", &envelope, "hexadecimal digits", None) }
            } else if target == Target::Group {
                { choice("Group", "admin-group", &group, &groups) }
            } else {
                { choice("Node", "admin-node", &node, &nodes) }
            }
            if !is_signed { { choice("By", "admin-operator", &operator, &operators) } }
            { desk.submit("admin-submit", if is_signed { "Submit" } else { "Sign and submit" }, pending, ready) }
        </form>
    }
}

/// Several operators' signatures, after a look at what the command will do.
#[component]
pub(crate) fn IceForm(props: &FormProps) -> Html {
    let desk = &props.desk;
    let (verb, group, index) = (use_state(String::new), use_state(String::new), use_state(|| "0".to_owned()));
    let (daemon, migration) = (use_state(String::new), use_state(String::new));
    let ttl = use_state(|| "30".to_owned());
    // As many as it takes; with fewer, everybody can see what becomes of that.
    let signers = use_state(|| OPERATORS[..2].to_vec());
    let verbs = options(&ICE_VERBS);
    let name = chosen(&verb, &verbs);
    let target = target_of(name, &ICE_VERBS);
    let (groups, daemons, migrations) = (groups(desk), daemons(desk), migrations(desk));
    let aim = Aim {
        node: None,
        group: chosen(&group, &groups).parse().ok(),
        index: whole(&index, (0, u32::MAX)),
        daemon: chosen(&daemon, &daemons).parse().ok(),
        migration: chosen(&migration, &migrations).parse().ok(),
        ttl_ms: whole(&ttl, TTL_S).map(|seconds| u64::from(seconds) * 1_000),
    };
    let command = ice_verb(name, aim);
    let ready = command.is_some();
    let simulated = desk.answers.simulated.as_ref().filter(|known| Some(&known.0) == command.as_ref());
    let onsubmit = {
        let (desk, command) = (desk.clone(), command.clone());
        on_submit(move || {
            if let Some(command) = &command {
                desk.give(Work::Simulate(command.clone()));
            }
        })
    };
    let simulating = desk.is_pending(|work| matches!(work, Work::Simulate(_)));
    let committing = desk.is_pending(|work| matches!(work, Work::Ice(..)));
    let radius = simulated.map(|simulated| {
        let (verb, answer) = (simulated.0.clone(), simulated.1.clone());
        let commit = {
            let (desk, simulation, signers) = (desk.clone(), answer.simulation, signers.clone());
            Callback::from(move |_: MouseEvent| {
                desk.give(Work::Ice(verb.clone(), simulation, (*signers).clone()));
            })
        };
        html! {
            <>
                <span data-testid="ice-radius">{ admin::radius(&answer.radius) }</span>
                if !answer.radius.warnings.is_empty() {
                    <ul class="warnings">{ for answer.radius.warnings.iter().map(|warning| html! { <li>{ warning }</li> }) }</ul>
                }
                <button
                    type="button" class="button small danger" data-testid="ice-commit"
                    disabled={!desk.live || committing || signers.is_empty()} aria-busy={committing.then_some("true")} onclick={commit}
                >
                    { super::parts::labelled(committing, "bolt", "Commit".into()) }
                </button>
            </>
        }
    });
    html! {
        <form class="work-form" aria-label="Sign a break-glass command" novalidate=true {onsubmit}>
            { choice("Break glass", "ice-verb", &verb, &verbs) }
            if target == Target::Lasting {
                { typed("Seconds", "ice-ttl", &ttl, "", Some(TTL_S)) }
            }
            if target == Target::Member {
                { choice("Group", "ice-group", &group, &groups) }
                { typed("Place", "ice-index", &index, "", Some((0, u32::MAX))) }
            }
            if target == Target::Daemon {
                { choice("Daemon", "ice-daemon", &daemon, &daemons) }
            }
            if target == Target::Migration {
                { choice("Migration", "ice-migration", &migration, &migrations) }
            }
            { who_signs(&signers) }
            { desk.submit("ice-simulate", "Simulate", simulating, ready) }
            <div class="answer" role="status">{ radius }</div>
        </form>
    }
}

/// A tick for each operator.
fn who_signs(signers: &UseStateHandle<Vec<&'static str>>) -> Html {
    let tick = |name: &'static str| {
        let onchange = {
            let signers = signers.clone();
            Callback::from(move |_: Event| {
                // In their own order, whichever was ticked last.
                let next = OPERATORS.into_iter().filter(|other| signers.contains(other) != (*other == name));
                signers.set(next.collect());
            })
        };
        html! {
            <label class="tick">
                <input type="checkbox" data-testid="ice-operator" value={name} checked={signers.contains(&name)} {onchange} />
                { name }
            </label>
        }
    };
    html! {
        <fieldset class="ticks">
            <legend class="field-label">{ "By" }</legend>
            { for OPERATORS.into_iter().map(tick) }
        </fieldset>
    }
}

/// The bytes that were signed elsewhere. None where the text is no hexadecimal digits.
fn signed(text: &str) -> Option<Hex> {
    text.trim().to_ascii_lowercase().parse().ok().filter(|Hex(bytes)| !bytes.is_empty())
}

fn options(choices: &[Choice]) -> Vec<(String, String)> {
    choices.iter().map(|&(name, word, _)| (name.to_owned(), word.to_owned())).collect()
}

fn target_of(name: &str, choices: &[Choice]) -> Target {
    choices.iter().find(|(known, ..)| *known == name).map_or(Target::Cluster, |&(.., target)| target)
}

/// Every member, one that does not run included: a command about it is rejected in so many words.
fn members(desk: &Desk) -> Vec<(String, String)> {
    let mut nodes: Vec<_> = (desk.snapshot.iter())
        .flat_map(|snapshot| snapshot.nodes.iter().map(|(id, node)| (node.index, id.to_string())))
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(index, id)| (id, format!("Node {index}"))).collect()
}

fn groups(desk: &Desk) -> Vec<(String, String)> {
    (desk.snapshot.iter())
        .flat_map(|snapshot| workloads::groups(snapshot))
        .map(|group| (group.id.to_string(), group.name.clone()))
        .collect()
}

fn daemons(desk: &Desk) -> Vec<(String, String)> {
    (desk.snapshot.iter())
        .flat_map(|snapshot| workloads::daemons(snapshot))
        .map(|(_, daemon)| (daemon.id.to_string(), desk.names.daemon(daemon.id)))
        .collect()
}

fn migrations(desk: &Desk) -> Vec<(String, String)> {
    (desk.snapshot.iter())
        .flat_map(|snapshot| workloads::migrations(snapshot))
        .filter(|migration| !migration.view.phase.is_over())
        .map(|migration| {
            let view = &migration.view;
            let name = desk.names.daemon(view.daemon);
            (view.id.to_string(), format!("{name}, {}", workload::phase(view.phase).to_lowercase()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_hexadecimal_digits_with_or_without_space_around() {
        assert_eq!(signed(" 0aFF\n"), Some(Hex(vec![0x0a, 0xff])));
        for text in ["", " ", "0", "0x0a", "zz"] {
            assert_eq!(signed(text), None, "{text:?}");
        }
    }
}

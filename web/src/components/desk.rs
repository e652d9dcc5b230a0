//! What every table of workloads is given, and the parts it is made of.

use meshground_shared::{NodeId, NodeState, Snapshot};
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use super::{node_table::sentence_case, parts::labelled};
use crate::{
    names::Names,
    shared_ref::Shared,
    state::{Command, LogClock, Pending},
    text::Tone,
    work::{Answers, Work},
};

/// What every table of workloads is given.
#[derive(Clone, PartialEq)]
pub(crate) struct Desk {
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// What nodes, daemons and groups are called.
    pub(crate) names: Shared<Names>,
    /// The log's clock.
    pub(crate) clock: LogClock,
    /// Whether commands can be given.
    pub(crate) live: bool,
    /// Commands under way.
    pub(crate) pending: Vec<Pending>,
    /// What the server answered that no event says.
    pub(crate) answers: Shared<Answers>,
    /// Called with what the person wants done.
    pub(crate) on_command: Callback<Command>,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
}

/// What the tables of workloads are given.
#[derive(Properties, PartialEq)]
pub(crate) struct DeskProps {
    /// Whether anyone can see it.
    pub(crate) open: bool,
    /// What all of them are given.
    pub(crate) desk: Desk,
}

/// A button of a row: what it does, how tests know it, what it says and what it is called.
pub(crate) struct RowButton {
    /// What is to be done.
    pub(crate) work: Work,
    /// The button's `data-testid`.
    pub(crate) test: &'static str,
    /// What it says.
    pub(crate) label: &'static str,
    /// What it says to who does not see its row.
    pub(crate) name: String,
}

impl Desk {
    /// Whether something of this sort is under way.
    pub(crate) fn is_pending(&self, which: impl Fn(&Work) -> bool) -> bool {
        self.pending.iter().any(|pending| matches!(&pending.command, Command::Work(work) if which(work)))
    }

    /// Asks for something to be done.
    pub(crate) fn give(&self, work: Work) {
        self.on_command.emit(Command::Work(work));
    }

    /// A small button of a row; `free` is whether nothing else rules it out.
    pub(crate) fn button(&self, button: RowButton, free: bool) -> Html {
        let RowButton { work, test, label, name } = button;
        let pending = self.is_pending(|under_way| *under_way == work);
        let on_command = self.on_command.clone();
        html! {
            <button
                type="button" class="link-button" data-testid={test} aria-label={name.clone()} title={name}
                disabled={!self.live || pending || !free} aria-busy={pending.then_some("true")}
                onclick={move |_: MouseEvent| on_command.emit(Command::Work(work.clone()))}
            >
                { label }
            </button>
        }
    }

    /// The button at the end of a form.
    pub(crate) fn submit(&self, test: &'static str, label: &'static str, pending: bool, ready: bool) -> Html {
        html! {
            <button
                type="submit" class="button small" data-testid={test} disabled={!self.live || pending || !ready}
                aria-busy={pending.then_some("true")}
            >
                { labelled(pending, "play", label.into()) }
            </button>
        }
    }

    /// A node's name as a button that selects it.
    pub(crate) fn node(&self, id: NodeId) -> Html {
        let pick = self.on_select.reform(move |_: MouseEvent| Some(id));
        html! {
            <button type="button" class="row-button" onclick={pick}>{ sentence_case(&self.names.name(id)) }</button>
        }
    }

    /// The node that a way leads to, behind an arrow that stays with it.
    pub(crate) fn onwards(&self, id: NodeId) -> Html {
        html! {
            <span class="onwards">
                <span class="sr-only">{ "to" }</span><span aria-hidden="true">{ "→ " }</span>{ self.node(id) }
            </span>
        }
    }

    /// The nodes that run, to choose from.
    pub(crate) fn nodes(&self) -> Vec<(String, String)> {
        let mut nodes: Vec<_> = (self.snapshot.iter())
            .flat_map(|snapshot| snapshot.nodes.iter())
            .filter(|(_, node)| node.state == NodeState::Running)
            .map(|(id, node)| (node.index, id.to_string()))
            .collect();
        nodes.sort_unstable();
        nodes.into_iter().map(|(index, id)| (id, format!("Node {index}"))).collect()
    }

    /// The factories, to choose from.
    pub(crate) fn kinds(&self) -> Vec<(String, String)> {
        self.answers.kinds.iter().map(|kind| (kind.kind.clone(), kind.kind.clone())).collect()
    }

    /// What a factory says of itself.
    pub(crate) fn about(&self, kind: &str) -> Option<AttrValue> {
        let known = self.answers.kinds.iter().find(|known| known.kind == kind);
        known.filter(|known| !known.about.is_empty()).map(|known| known.about.clone().into())
    }
}

/// What is chosen: what the person chose as long as it is there, else the first there is.
pub(crate) fn chosen<'a>(wanted: &'a str, options: &'a [(String, String)]) -> &'a str {
    let there = options.iter().any(|(value, _)| value == wanted);
    if there { wanted } else { options.first().map_or("", |(value, _)| value) }
}

/// A labelled choice of a form.
pub(crate) fn choice(
    label: &'static str,
    test: &'static str,
    wanted: &UseStateHandle<String>,
    options: &[(String, String)],
) -> Html {
    let onchange = {
        let wanted = wanted.clone();
        Callback::from(move |event: Event| {
            wanted.set(event.target_unchecked_into::<HtmlSelectElement>().value());
        })
    };
    let now = chosen(wanted, options).to_owned();
    html! {
        <label class="field">
            <span class="field-label">{ label }</span>
            <select class="choice" data-testid={test} disabled={options.is_empty()} {onchange}>
                if options.is_empty() { <option>{ "none" }</option> }
                { for options.iter().map(|(value, said)| html! {
                    <option key={value.clone()} value={value.clone()} selected={*value == now}>{ said }</option>
                }) }
            </select>
        </label>
    }
}

/// A labelled text of a form, or a number where `number` names its range.
pub(crate) fn typed(
    label: &'static str,
    test: &'static str,
    value: &UseStateHandle<String>,
    hint: &'static str,
    number: Option<(u32, u32)>,
) -> Html {
    let oninput = {
        let value = value.clone();
        Callback::from(move |event: InputEvent| {
            value.set(event.target_unchecked_into::<HtmlInputElement>().value());
        })
    };
    let bad = number.is_some_and(|range| whole(value, range).is_none());
    html! {
        <label class="field">
            <span class="field-label">{ label }</span>
            <input
                type={if number.is_some() { "number" } else { "text" }} data-testid={test}
                min={number.map(|(least, _)| least.to_string())} max={number.map(|(_, most)| most.to_string())}
                value={(**value).clone()} placeholder={hint} autocomplete="off" spellcheck="false"
                aria-invalid={bad.then_some("true")} {oninput}
            />
        </label>
    }
}

/// A whole number within a range.
pub(crate) fn whole(text: &str, (least, most): (u32, u32)) -> Option<u32> {
    text.trim().parse().ok().filter(|number| (least..=most).contains(number))
}

/// A form's reaction: nothing is sent anywhere but what `then` does.
pub(crate) fn on_submit(then: impl Fn() + 'static) -> Callback<SubmitEvent> {
    Callback::from(move |event: SubmitEvent| {
        event.prevent_default();
        then();
    })
}

/// A word with a colour and a shape.
pub(crate) fn mark(tone: Tone, word: impl Into<AttrValue>) -> Html {
    let look = match tone {
        Tone::Good => "healthy",
        Tone::Warn => "suspect",
        Tone::Bad => "unreachable",
        Tone::Plain | Tone::Quiet => "plain",
    };
    html! { <span class={classes!("chip", look)}>{ word.into() }</span> }
}

/// A table's only row while it has none.
pub(crate) fn no_rows(columns: usize, said: &'static str) -> Html {
    html! { <tr class="empty"><td colspan={columns.to_string()}>{ said }</td></tr> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_that_is_no_longer_there_gives_way_to_the_first() {
        let options = ["a", "b"].map(|name| (name.to_owned(), name.to_owned()));
        assert_eq!(chosen("b", &options), "b");
        assert_eq!(chosen("c", &options), "a");
        assert_eq!(chosen("c", &[]), "");
    }

    #[test]
    fn only_whole_numbers_within_the_range_are_taken() {
        assert_eq!(whole(" 3 ", (1, 9)), Some(3));
        for text in ["", "0", "10", "2.5", "-1", "two"] {
            assert_eq!(whole(text, (1, 9)), None, "{text:?}");
        }
    }
}

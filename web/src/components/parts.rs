//! Small parts that several panels use.

use meshground_shared::{Health, Maintenance, NodeState, Traffic};
use yew::prelude::*;

use super::{Icon, desk::mark};
use crate::{
    dom::{self, Timer},
    text::{self, Tone, workload},
};

/// A verdict: a word, a colour and a shape.
#[derive(Properties, PartialEq)]
pub(crate) struct VerdictProps {
    /// The verdict; none where nobody judges.
    pub(crate) health: Option<Health>,
}

/// A verdict, told apart by word and shape as well as by colour.
#[component]
pub(crate) fn Verdict(props: &VerdictProps) -> Html {
    match props.health {
        Some(health) => html! {
            <span class={classes!("chip", "verdict", text::health_slug(health))}>{ text::health(health) }</span>
        },
        None => html! { <span class="none" title="No peer judges it">{ "–" }</span> },
    }
}

/// The cell of a session's traffic as one end counts it; a dash before it is known.
pub(crate) fn traffic(total: Option<&Traffic>) -> Html {
    html! {
        <td class="number wide" data-testid="traffic" title={total.map(text::traffic_at_length)}>
            { total.map_or_else(|| "–".to_owned(), text::traffic) }
        </td>
    }
}

/// Whether a node runs.
#[derive(Properties, PartialEq)]
pub(crate) struct LifeProps {
    /// Whether it does.
    pub(crate) state: NodeState,
}

/// Whether a node runs, as a word and a shape.
#[component]
pub(crate) fn Life(props: &LifeProps) -> Html {
    let (slug, word) = life(props.state);
    html! { <span class={classes!("life", slug)}>{ word }</span> }
}

/// A node's state as styles and tests know it, and as people write it.
pub(crate) fn life(state: NodeState) -> (&'static str, &'static str) {
    match state {
        NodeState::Running => ("running", "Running"),
        NodeState::Paused => ("paused", "Paused"),
        NodeState::Crashed => ("crashed", "Crashed"),
        NodeState::Leaving => ("leaving", "Leaving"),
    }
}

/// Whether a node may be given work.
#[derive(Properties, PartialEq)]
pub(crate) struct ServiceProps {
    /// Whether it serves.
    pub(crate) state: Maintenance,
    /// Whether nothing new is placed on it.
    pub(crate) cordoned: bool,
    /// For how many more microseconds it is frozen, in whole seconds.
    pub(crate) frozen_us: Option<u64>,
}

/// Whether a node may be given work, as words and shapes; a dash where all is as usual.
#[component]
#[allow(clippy::cast_precision_loss)] // shown in seconds
pub(crate) fn Service(props: &ServiceProps) -> Html {
    let away = props.state != Maintenance::Active;
    html! {
        <span class="service">
            if away { { mark(workload::maintenance_tone(props.state, false), workload::maintenance(props.state)) } }
            if props.cordoned { { mark(Tone::Warn, "Cordoned") } }
            if let Some(us) = props.frozen_us { { mark(Tone::Warn, format!("Frozen, {}", text::age(us as f64))) } }
            if !away && !props.cordoned && props.frozen_us.is_none() {
                <span class="none">{ "In service" }</span>
            }
        </span>
    }
}

/// What a copy button copies.
#[derive(Properties, PartialEq)]
pub(crate) struct CopyProps {
    /// The text.
    pub(crate) text: String,
    /// What it is, for the button's name.
    pub(crate) what: &'static str,
}

/// Copies a text, and says for a moment that it did.
#[component]
pub(crate) fn Copy(props: &CopyProps) -> Html {
    let done = use_state(|| None::<std::rc::Rc<Timer>>);
    let onclick = {
        let (done, text) = (done.clone(), props.text.clone());
        Callback::from(move |_: MouseEvent| {
            dom::copy(&text);
            let reset = done.setter();
            let timer = Timer::after(1_600.0, move || reset.set(None));
            done.set(Some(std::rc::Rc::new(timer)));
        })
    };
    let (icon, label) = if done.is_some() {
        ("check", "Copied".to_owned())
    } else {
        ("copy", format!("Copy the {}", props.what))
    };
    html! {
        <button
            type="button"
            class={classes!("icon-button", "small", done.is_some().then_some("done"))}
            aria-label={label.clone()}
            title={label}
            {onclick}
        >
            <Icon name={icon} />
        </button>
    }
}

/// The label of a button whose command may be under way.
pub(crate) fn labelled(pending: bool, icon: &'static str, label: AttrValue) -> Html {
    html! {
        <>
            if pending { <span class="spinner" aria-hidden="true" /> } else { <Icon name={icon} /> }
            <span>{ label }</span>
        </>
    }
}

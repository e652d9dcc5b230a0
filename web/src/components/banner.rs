//! What is wrong with the link to the server, and what is done about it.

use yew::prelude::*;

use super::tick::use_now;
use crate::state::LinkState;

/// What the banner is given.
#[derive(Properties, PartialEq)]
pub(crate) struct BannerProps {
    /// The link.
    pub(crate) link: LinkState,
    /// Called when the person does not want to wait.
    pub(crate) on_retry: Callback<()>,
}

/// A line across the page while the link is down; nothing while it is up.
#[component]
pub(crate) fn Banner(props: &BannerProps) -> Html {
    let (title, attempt, due_ms) = match props.link {
        LinkState::Connecting | LinkState::Live => return Html::default(),
        LinkState::Reconnecting { attempt, due_ms } => ("Connection lost.", attempt, due_ms),
        LinkState::Gone { attempt, due_ms } => ("The server is gone.", attempt, due_ms),
    };
    let gone = matches!(props.link, LinkState::Gone { .. });
    let on_retry = props.on_retry.clone();
    html! {
        <div class={classes!("banner", gone.then_some("gone"))} role="status">
            <p>
                <strong>{ title }</strong>
                if gone {
                    { " Start it again with " }<code>{ "meshground" }</code>{ "; this page comes back by itself." }
                } else {
                    { " What you see is how things stood then." }
                }
            </p>
            <Countdown {attempt} {due_ms} />
            <button type="button" class="button small" data-testid="retry" onclick={move |_| on_retry.emit(())}>
                { "Retry now" }
            </button>
        </div>
    }
}

#[derive(Properties, PartialEq)]
struct CountdownProps {
    attempt: u32,
    due_ms: f64,
}

/// Ticks by itself, hidden from screen readers, which would read out every second.
#[component]
fn Countdown(props: &CountdownProps) -> Html {
    let now_ms = use_now(250.0);
    let left = ((props.due_ms - now_ms) / 1e3).ceil();
    let text = if left >= 1.0 {
        format!("Attempt {} in {left:.0} s", props.attempt)
    } else {
        format!("Attempt {} under way…", props.attempt)
    };
    html! { <span class="countdown" aria-hidden="true">{ text }</span> }
}

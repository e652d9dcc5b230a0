//! Errors, until they are dismissed.

use yew::prelude::*;

use super::Icon;
use crate::state::Notice;

/// What the notices are given.
#[derive(Properties, PartialEq)]
pub(crate) struct NoticesProps {
    /// The errors on show.
    pub(crate) notices: Vec<Notice>,
    /// Called with the id of one that has been read.
    pub(crate) on_dismiss: Callback<u64>,
}

/// A stack of errors in the corner, newest last.
#[component]
pub(crate) fn Notices(props: &NoticesProps) -> Html {
    let notice = |notice: &Notice| {
        let id = notice.id;
        let on_dismiss = props.on_dismiss.clone();
        html! {
            <div key={id} class="notice" role="alert" data-testid="error" data-error={notice.name.clone()}>
                <Icon name="alert" />
                <div class="notice-text">
                    <p class="notice-title">{ &notice.title }</p>
                    <p>{ &notice.message }</p>
                    if !notice.hint.is_empty() { <p class="hint">{ &notice.hint }</p> }
                    if !notice.name.is_empty() { <code class="error-name">{ &notice.name }</code> }
                </div>
                <button
                    type="button"
                    class="icon-button"
                    aria-label="Dismiss"
                    data-testid="error-dismiss"
                    onclick={move |_| on_dismiss.emit(id)}
                >
                    <Icon name="close" />
                </button>
            </div>
        }
    };
    html! { <div class="notices">{ for props.notices.iter().map(notice) }</div> }
}

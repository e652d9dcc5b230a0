//! What the graph's colours and shapes mean.

use yew::prelude::*;

/// The graph's legend.
#[component]
pub(crate) fn Legend() -> Html {
    html! {
        <ul class="legend" aria-label="Legend">
            <li><span class="swatch healthy" aria-hidden="true" />{ "Healthy" }</li>
            <li><span class="swatch suspect" aria-hidden="true" />{ "Suspect" }</li>
            <li><span class="swatch unreachable" aria-hidden="true" />{ "Unreachable" }</li>
            <li><span class="swatch half" aria-hidden="true" />{ "One-sided" }</li>
            <li><span class="swatch one-way" aria-hidden="true" />{ "Heard one way only" }</li>
        </ul>
    }
}

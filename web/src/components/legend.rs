//! What the graph's colours and shapes mean.

use yew::prelude::*;

/// What the legend is given.
#[derive(Properties, PartialEq)]
pub(crate) struct LegendProps {
    /// Whether anything shows what runs on nodes.
    pub(crate) work: bool,
}

/// The graph's legend.
#[component]
pub(crate) fn Legend(props: &LegendProps) -> Html {
    html! {
        <ul class="legend" aria-label="Legend">
            <li><span class="swatch healthy" aria-hidden="true" />{ "Healthy" }</li>
            <li><span class="swatch suspect" aria-hidden="true" />{ "Suspect" }</li>
            <li><span class="swatch unreachable" aria-hidden="true" />{ "Unreachable" }</li>
            <li><span class="swatch half" aria-hidden="true" />{ "One-sided" }</li>
            if props.work {
                <li><span class="swatch daemons" aria-hidden="true" />{ "Daemons" }</li>
                <li><span class="swatch no-entry" aria-hidden="true" />{ "Takes no work" }</li>
            }
        </ul>
    }
}

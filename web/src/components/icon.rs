//! The page's icons, drawn on a 16 by 16 grid with a 1.5 pixel stroke.

use yew::prelude::*;

/// Which icon.
#[derive(Properties, PartialEq)]
pub(crate) struct IconProps {
    /// Its name.
    pub(crate) name: &'static str,
}

/// An icon beside or in place of a text; hidden from screen readers, so a control
/// that has nothing else needs a label.
#[component]
pub(crate) fn Icon(props: &IconProps) -> Html {
    let path = match props.name {
        "plus" => "M8 3.5v9M3.5 8h9",
        "minus" => "M3.5 8h9",
        "fit" => "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
        "sun" => {
            "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2\
             M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9"
        }
        "moon" => "M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8Z",
        "copy" => "M5.8 5.8h7.4v7.4H5.8zM10.2 5.8V2.8H2.8v7.4h3",
        "check" => "M3 8.5l3.2 3.2L13 4.8",
        "close" => "M4 4l8 8M12 4l-8 8",
        "pause" => "M5.5 3.5v9M10.5 3.5v9",
        "play" => "M5 3.2l7.5 4.8L5 12.8z",
        "alert" => "M8 2.2 14.4 13.3H1.6zM8 6.6v3M8 11.4v.2",
        "power" => "M8 2v5.5M4.6 4.4a5 5 0 1 0 6.8 0",
        "bolt" => "M9 1.8 3.5 9H8l-1 5.2L12.5 7H8z",
        "restart" => "M13 8a5 5 0 1 1-1.6-3.7M13.2 1.9v3.2H10",
        "leave" => "M6.5 2.8H3.2v10.4h3.3M10 5l3 3-3 3M13 8H6.4",
        "ban" => "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2ZM3.9 3.9l8.2 8.2",
        _ => "",
    };
    html! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
            <path d={path} />
        </svg>
    }
}

//! The Meshground playground page.
//!
//! One reducer-held `state` folds what the server says; Yew components show it;
//! the peer graph is drawn on a canvas outside the virtual DOM. What needs no
//! browser (state, layout, camera, backoff, sentences) is plain Rust and is tested
//! natively; the rest only runs in WASM.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]
// Yew hands properties and callbacks to components by value.
#![allow(clippy::needless_pass_by_value)]

mod app;
mod audit;
mod command;
mod components;
mod dom;
mod eyes;
#[cfg(test)]
mod fixtures;
mod graph;
mod link;
mod names;
mod sessions;
mod shared_ref;
mod state;
mod text;
mod theme;
mod verdicts;
mod work;
mod workloads;

/// Mounts the page into the document's `#app`.
pub fn run() {
    match dom::by_id("app") {
        Some(root) => {
            root.set_inner_html("");
            yew::Renderer::<app::App>::with_root(root).render();
        }
        None => {
            yew::Renderer::<app::App>::new().render();
        }
    }
}

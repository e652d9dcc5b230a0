//! The few things this page asks of the browser, with their clean-up.

use js_sys::Function;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{AddEventListenerOptions, Document, Element, Event, EventTarget, Window};

/// The window. The page runs in one, not in a worker.
pub(crate) fn window() -> Window {
    web_sys::window().expect("the page runs in a window")
}

/// The document.
pub(crate) fn document() -> Document {
    window().document().expect("a window has a document")
}

/// An element by its id.
pub(crate) fn by_id(id: &str) -> Option<Element> {
    document().get_element_by_id(id)
}

/// Gives an element the keyboard.
pub(crate) fn focus(id: &str) {
    if let Some(element) = by_id(id).and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok()) {
        // Fails only for what cannot have it.
        let _ = element.focus();
    }
}

/// Monotonic milliseconds since the page was opened.
pub(crate) fn now_ms() -> f64 {
    window().performance().map_or(0.0, |performance| performance.now())
}

/// Whether nobody can see the page: it is in another tab, or its window is minimized.
pub(crate) fn is_hidden() -> bool {
    document().hidden()
}

/// Whether the person asked for less motion.
pub(crate) fn prefers_reduced_motion() -> bool {
    matches("(prefers-reduced-motion: reduce)")
}

/// Whether a media query holds.
pub(crate) fn matches(query: &str) -> bool {
    window().match_media(query).ok().flatten().is_some_and(|list| list.matches())
}

/// A timer that is cancelled when dropped.
pub(crate) struct Timer {
    handle: i32,
    repeats: bool,
    // Keeps the closure alive for as long as the browser may call it.
    _closure: Closure<dyn FnMut()>,
}

impl Timer {
    /// Calls `then` once, after `ms` milliseconds.
    pub(crate) fn after(ms: f64, then: impl FnOnce() + 'static) -> Self {
        let mut then = Some(then);
        let closure = Closure::<dyn FnMut()>::new(move || {
            if let Some(then) = then.take() {
                then();
            }
        });
        let call: &Function = closure.as_ref().unchecked_ref();
        let handle = window().set_timeout_with_callback_and_timeout_and_arguments_0(call, whole(ms));
        Self { handle: handle.unwrap_or_default(), repeats: false, _closure: closure }
    }

    /// Calls `each` every `ms` milliseconds.
    pub(crate) fn every(ms: f64, each: impl FnMut() + 'static) -> Self {
        let closure = Closure::<dyn FnMut()>::new(each);
        let call: &Function = closure.as_ref().unchecked_ref();
        let handle = window().set_interval_with_callback_and_timeout_and_arguments_0(call, whole(ms));
        Self { handle: handle.unwrap_or_default(), repeats: true, _closure: closure }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.repeats {
            window().clear_interval_with_handle(self.handle);
        } else {
            window().clear_timeout_with_handle(self.handle);
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // timers are seconds, not weeks
fn whole(ms: f64) -> i32 {
    ms.round() as i32
}

/// Drops something that holds a closure which may be running right now; a closure
/// must not be dropped from inside itself.
pub(crate) fn drop_later<T: 'static>(value: T) {
    next_turn(move || drop(value));
}

/// Calls `then` in another turn of the event loop.
pub(crate) fn next_turn(then: impl FnOnce() + 'static) {
    let then = Closure::once_into_js(then);
    let call: &Function = then.unchecked_ref();
    // Fails only outside a window.
    let _ = window().set_timeout_with_callback(call);
}

/// An event listener that is removed when dropped.
pub(crate) struct Listener {
    target: EventTarget,
    kind: &'static str,
    closure: Closure<dyn FnMut(Event)>,
}

impl Listener {
    /// Listens for `kind`; may prevent the browser's own reaction.
    pub(crate) fn new(target: &EventTarget, kind: &'static str, on: impl FnMut(Event) + 'static) -> Self {
        let closure = Closure::<dyn FnMut(Event)>::new(on);
        let options = AddEventListenerOptions::new();
        // Otherwise the browser scrolls the page before a wheel over the graph is seen.
        options.set_passive(false);
        let call: &Function = closure.as_ref().unchecked_ref();
        // Fails for no target and no kind that exist here.
        let _ = target.add_event_listener_with_callback_and_add_event_listener_options(kind, call, &options);
        Self { target: target.clone(), kind, closure }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let call: &Function = self.closure.as_ref().unchecked_ref();
        let _ = self.target.remove_event_listener_with_callback(self.kind, call);
    }
}

/// What this browser remembers under `key`. None where it may not remember anything.
pub(crate) fn remembered(key: &str) -> Option<String> {
    window().local_storage().ok().flatten()?.get_item(key).ok().flatten()
}

/// Remembers `value` under `key`, or forgets it. Best effort: a private window may refuse.
pub(crate) fn remember(key: &str, value: Option<&str>) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _: Result<(), JsValue> = match value {
            Some(value) => storage.set_item(key, value),
            None => storage.remove_item(key),
        };
    }
}

/// Puts `text` on the clipboard. Best effort: the browser may refuse outside a secure context.
pub(crate) fn copy(text: &str) {
    let navigator = window().navigator();
    // Absent outside a secure context, whatever the type says.
    if js_sys::Reflect::has(&navigator, &JsValue::from_str("clipboard")).unwrap_or(false)
        && !navigator.clipboard().is_undefined()
    {
        let _ = navigator.clipboard().write_text(text);
    }
}

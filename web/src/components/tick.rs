//! A clock for what must be seen to count.

use yew::prelude::*;

use crate::dom::{self, Timer};

/// The page's milliseconds, anew every `every_ms`; the same for renders in between.
#[hook]
pub(crate) fn use_now(every_ms: f64) -> f64 {
    let now = use_state(dom::now_ms);
    {
        let now = now.setter();
        use_effect_with((), move |()| {
            let timer = Timer::every(every_ms, move || now.set(dom::now_ms()));
            move || drop(timer)
        });
    }
    *now
}

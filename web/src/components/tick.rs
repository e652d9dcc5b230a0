//! A clock for what must be seen to count.

use yew::prelude::*;

use crate::dom::{self, Timer};

/// The page's milliseconds, anew every `every_ms`.
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
    // A render for another reason in between shows the time of then.
    now.max(dom::now_ms())
}

//! Light, dark, or as the system has it.

use crate::dom;

const KEY: &str = "meshground.theme";

/// What the person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system has it.
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// What this browser remembers. `boot.js` has put it on the document before the
    /// first paint already.
    pub(crate) fn remembered() -> Self {
        match dom::remembered(KEY).as_deref() {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::System,
        }
    }

    /// Whether it is dark here and now.
    pub(crate) fn is_dark(self) -> bool {
        match self {
            Self::System => dom::matches("(prefers-color-scheme: dark)"),
            Self::Light => false,
            Self::Dark => true,
        }
    }

    /// The other one than what is seen now.
    pub(crate) fn toggled(self) -> Self {
        let system_is_dark = Self::System.is_dark();
        match (self.is_dark(), system_is_dark) {
            // Back to what the system has: follow it again.
            (true, false) | (false, true) => Self::System,
            (true, true) => Self::Light,
            (false, false) => Self::Dark,
        }
    }

    /// Shows it and remembers it.
    pub(crate) fn put_on(self) {
        let word = match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        };
        dom::remember(KEY, word);
        if let Some(root) = dom::document().document_element() {
            // Refused only for a name that is none.
            let _ = match word {
                Some(word) => root.set_attribute("data-theme", word),
                None => root.remove_attribute("data-theme"),
            };
        }
    }
}

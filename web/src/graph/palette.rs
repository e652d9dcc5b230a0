//! The graph's colours, read from the style sheet so that they live in one place.

use meshground_shared::Health;
use web_sys::Element;

use crate::{dom, text::Tone};

/// The colours of one theme, as CSS writes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Palette {
    /// Behind everything.
    pub(crate) ground: String,
    /// Inside a node.
    pub(crate) node: String,
    /// The guide ring.
    pub(crate) guide: String,
    /// Labels.
    pub(crate) text: String,
    /// Lesser labels.
    pub(crate) faint: String,
    /// The selection.
    pub(crate) accent: String,
    healthy: String,
    suspect: String,
    unreachable: String,
    /// The font of figures.
    pub(crate) sans: String,
    /// The font of ids.
    pub(crate) mono: String,
}

impl Palette {
    /// Reads what applies to `element` now.
    pub(crate) fn read(element: &Element) -> Self {
        let style = dom::window().get_computed_style(element).ok().flatten();
        let value = |name: &str| {
            let value = style.as_ref().and_then(|style| style.get_property_value(name).ok());
            value.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        Self {
            ground: value("--graph-ground"),
            node: value("--graph-node"),
            guide: value("--graph-guide"),
            text: value("--graph-text"),
            faint: value("--graph-faint"),
            accent: value("--graph-accent"),
            healthy: value("--graph-healthy"),
            suspect: value("--graph-suspect"),
            unreachable: value("--graph-unreachable"),
            sans: value("--sans"),
            mono: value("--mono"),
        }
    }

    /// The colour of a verdict.
    pub(crate) fn health(&self, health: Health) -> &str {
        match health {
            Health::Healthy => &self.healthy,
            Health::Suspect => &self.suspect,
            Health::Unreachable => &self.unreachable,
        }
    }

    /// The colour of a mark.
    pub(crate) fn tone(&self, tone: Tone) -> &str {
        match tone {
            Tone::Good => &self.healthy,
            Tone::Warn => &self.suspect,
            Tone::Bad => &self.unreachable,
            Tone::Plain | Tone::Quiet => &self.faint,
        }
    }
}

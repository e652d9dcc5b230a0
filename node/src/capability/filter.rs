//! Which nodes are meant.

use std::collections::BTreeSet;

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use super::Capabilities;

/// A condition on a node and what it announces. [`Filter::any`] meets every node; each call adds a
/// condition, and all must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Filter {
    all_of: BTreeSet<String>,
    any_of: Vec<BTreeSet<String>>,
    none_of: BTreeSet<String>,
    metadata: Vec<(String, Condition)>,
    only: Option<BTreeSet<NodeId>>,
    except: BTreeSet<NodeId>,
}

/// A condition on the value under a key. One that is not there meets none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Condition {
    Exists,
    Is(String),
    Number(Comparison, f64),
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Below the given one.
    LessThan,
    /// Not above it.
    AtMost,
    /// The same.
    Equal,
    /// Not below it.
    AtLeast,
    /// Above it.
    GreaterThan,
}

impl Comparison {
    #[allow(clippy::float_cmp, reason = "equal is meant exactly")]
    fn holds(self, value: f64, with: f64) -> bool {
        match self {
            Self::LessThan => value < with,
            Self::AtMost => value <= with,
            Self::Equal => value == with,
            Self::AtLeast => value >= with,
            Self::GreaterThan => value > with,
        }
    }
}

impl Filter {
    /// Every node.
    pub fn any() -> Self {
        Self::default()
    }

    /// It has this tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.all_of.insert(tag.into());
        self
    }

    /// It has all of these tags.
    #[must_use]
    pub fn all_of(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.all_of.extend(tags.into_iter().map(Into::into));
        self
    }

    /// It has at least one of these tags; of none, none can.
    #[must_use]
    pub fn any_of(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.any_of.push(tags.into_iter().map(Into::into).collect());
        self
    }

    /// It has none of these tags.
    #[must_use]
    pub fn none_of(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.none_of.extend(tags.into_iter().map(Into::into));
        self
    }

    /// It has some value under `key`.
    #[must_use]
    pub fn metadata_exists(self, key: impl Into<String>) -> Self {
        self.condition(key, Condition::Exists)
    }

    /// It has exactly `value` under `key`.
    #[must_use]
    pub fn metadata_is(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.condition(key, Condition::Is(value.into()))
    }

    /// It has under `key` a decimal number for which this holds. What is no finite number meets no comparison.
    #[must_use]
    pub fn number(self, key: impl Into<String>, comparison: Comparison, with: f64) -> Self {
        self.condition(key, Condition::Number(comparison, with))
    }

    /// It is one of these nodes. Said again, it must be one of both.
    #[must_use]
    pub fn only(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let nodes: BTreeSet<NodeId> = nodes.into_iter().collect();
        self.only = Some(match self.only {
            Some(before) => before.intersection(&nodes).copied().collect(),
            None => nodes,
        });
        self
    }

    /// It is none of these nodes.
    #[must_use]
    pub fn except(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.except.extend(nodes);
        self
    }

    fn condition(mut self, key: impl Into<String>, condition: Condition) -> Self {
        self.metadata.push((key.into(), condition));
        self
    }

    /// Whether this node is meant.
    pub fn matches(&self, node: NodeId, capabilities: &Capabilities) -> bool {
        let has = |tag: &String| capabilities.has_tag(tag);
        self.only.as_ref().is_none_or(|only| only.contains(&node))
            && !self.except.contains(&node)
            && self.all_of.iter().all(has)
            && self.any_of.iter().all(|tags| tags.iter().any(has))
            && !self.none_of.iter().any(has)
            && self.metadata.iter().all(|(key, condition)| {
                capabilities.value(key).is_some_and(|value| match condition {
                    Condition::Exists => true,
                    Condition::Is(wanted) => value == wanted,
                    Condition::Number(comparison, with) => {
                        number(value).is_some_and(|value| comparison.holds(value, *with))
                    }
                })
            })
    }

    /// The tags a node must have.
    pub(super) fn required_tags(&self) -> impl Iterator<Item = &str> {
        self.all_of.iter().map(String::as_str)
    }

    /// The nodes one of which it must be.
    pub(super) fn required_nodes(&self) -> Option<&BTreeSet<NodeId>> {
        self.only.as_ref()
    }
}

/// A value as a finite number.
pub(super) fn number(value: &str) -> Option<f64> {
    value.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn node() -> Capabilities {
        Capabilities::new()
            .with_tag("gpu")
            .and_then(|it| it.with_tag("linux"))
            .and_then(|it| it.with_metadata("zone", "north"))
            .and_then(|it| it.with_metadata("cores", "16"))
            .and_then(|it| it.with_metadata("load", "NaN"))
            .unwrap()
    }

    fn meets(filter: &Filter) -> bool {
        filter.matches(NODE, &node())
    }

    #[test]
    fn tags_are_required_offered_and_forbidden() {
        assert!(meets(&Filter::any()));
        assert!(meets(&Filter::any().with_tag("gpu").all_of(["linux"])));
        assert!(!meets(&Filter::any().all_of(["gpu", "arm"])));
        assert!(meets(&Filter::any().any_of(["arm", "gpu"])));
        assert!(!meets(&Filter::any().any_of(["gpu"]).any_of(["arm"])), "each call is a condition");
        assert!(!meets(&Filter::any().any_of([""; 0])));
        assert!(meets(&Filter::any().none_of(["arm"])));
        assert!(!meets(&Filter::any().none_of(["arm", "gpu"])));
    }

    #[test]
    fn metadata_is_there_is_equal_or_compares() {
        use Comparison::{AtLeast, AtMost, Equal, GreaterThan, LessThan};
        assert!(meets(&Filter::any().metadata_exists("zone").metadata_is("zone", "north")));
        assert!(!meets(&Filter::any().metadata_exists("rack")));
        assert!(!meets(&Filter::any().metadata_is("zone", "south")));
        for (comparison, with, holds) in [
            (LessThan, 16.0, false),
            (AtMost, 16.0, true),
            (Equal, 16.0, true),
            (AtLeast, 16.0, true),
            (AtLeast, 16.5, false),
            (GreaterThan, 16.0, false),
            (GreaterThan, f64::NAN, false),
        ] {
            assert_eq!(
                meets(&Filter::any().number("cores", comparison, with)),
                holds,
                "{comparison:?} {with}"
            );
        }
        assert!(!meets(&Filter::any().number("zone", AtLeast, 0.0)), "not a number");
        assert!(!meets(&Filter::any().number("load", Equal, f64::NAN)));
    }

    #[test]
    fn nodes_are_named_or_excluded() {
        assert!(meets(&Filter::any().only([NODE, NodeId(2)])));
        assert!(!meets(&Filter::any().only([NODE]).only([NodeId(2)])));
        assert!(!meets(&Filter::any().except([NODE])));
    }
}

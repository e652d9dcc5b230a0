//! What a daemon is told when it is made.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, str::FromStr};

use meshground_node::DaemonError;

/// Arguments that were given, each at most once, none of them unknown.
#[derive(Debug)]
pub(super) struct Args<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Args<'a> {
    /// Reads `key=value` pairs, separated by blanks, whose keys are among `known`.
    pub(super) fn parse(text: &'a str, known: &[&str]) -> Result<Self, DaemonError> {
        let mut args = BTreeMap::new();
        for pair in text.split_whitespace() {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(DaemonError::new(format!("{pair:?} is no argument of the form key=value")));
            };
            if !known.contains(&key) {
                let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(DaemonError::new(format!("there is no argument {key:?}; it takes {takes}")));
            }
            if args.insert(key, value).is_some() {
                return Err(DaemonError::new(format!("the argument {key:?} is given twice")));
            }
        }
        Ok(Self(args))
    }

    /// A number within `range`; `default` if it is not given.
    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, DaemonError> {
        let Some(text) = self.0.get(key) else { return Ok(default) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(DaemonError::new(format!(
                "{key} is a number from {} to {}, not {text:?}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// Something that has to be given.
    pub(super) fn required<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, DaemonError> {
        let text = self.0.get(key).ok_or_else(|| DaemonError::new(format!("{key}=… has to be given")))?;
        text.parse().map_err(|error| DaemonError::new(format!("{key}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use meshground_node::DaemonId;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_by_name() {
        let refused = |text| Args::parse(text, &["every_ms", "to"]).unwrap_err().to_string();
        assert!(refused("every_ms").contains("key=value"));
        assert!(refused("evry_ms=5").contains("every_ms, to"));
        assert!(refused("to=1 to=2").contains("twice"));
        let args = Args::parse("every_ms=0 to=12", &["every_ms", "to"]).unwrap();
        assert!(args.number("every_ms", 1..=9, 5).unwrap_err().to_string().contains("from 1 to 9"));
        assert!(args.required::<DaemonId>("to").unwrap_err().to_string().starts_with("to: expected 16"));
        assert_eq!(Args::parse("", &["every_ms"]).unwrap().number("every_ms", 1..=9, 5), Ok(5));
    }
}
